"""Processes on a core of their own, and what the kernel says they used."""

import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from roomful import config

CORES: Final = tuple(sorted(os.sched_getaffinity(0))) if sys.platform == "linux" else (0,)
SERVER_CORE: Final = CORES[0]
LOAD_CORE: Final = CORES[-1]
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
BROKER: Final = "nats-server"
START_S: Final = 20.0
STOP_S: Final = 15.0
# With the right to, ahead of whatever else runs here.
_AHEAD: Final = ("nice", "-n", "-15") if os.geteuid() == 0 else ()


class Unstarted(Exception):
    """A process did not come up; the text is its log."""


PORTS: Final = range(20_000, 32_000)
"""Below those from which the kernel takes a connection's own end: there, who looks again and again
whether a server listens yet would once find a port taken by itself."""


def free_port() -> int:
    """A port of loopback that nobody uses now. Raises Unstarted if none is found."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
    raise Unstarted("No port of loopback is free.")


def listening(port: int) -> bool:
    """Whether somebody accepts connections on `port` of loopback."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def ahead(pid: int) -> None:
    """Put the session of `pid` ahead of others, where the scheduler groups by session."""
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text("-15")


class Server:
    """A process that listens on `port` of loopback, pinned to the servers' core unless told."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = process
        self.port = port

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def pids(self) -> list[int]:
        """The process and all that it has started."""
        return list(_tree(self.pid))

    @classmethod
    @contextmanager
    def started(
        cls,
        command: Sequence[str],
        port: int,
        folder: Path,
        ready: Callable[[int], bool] = listening,
        environment: Mapping[str, str] | None = None,
        cores: Sequence[int] = (SERVER_CORE,),
    ) -> Iterator[Self]:
        """`command`, running in `folder` from when it is `ready` until the context ends.

        Raises Unstarted.
        """
        output = folder / f"{Path(command[0]).name}-{port}.log"
        with output.open("wb") as log:
            process = subprocess.Popen(
                ["taskset", "-c", ",".join(map(str, cores)), *_AHEAD, *command],
                stdout=log, stderr=log, cwd=folder, start_new_session=True,
                env={**config.environment(), **(environment or {})},
            )  # fmt: skip
        ahead(process.pid)
        server = cls(process, port)
        try:
            if not server._comes_up(ready):
                raise Unstarted(output.read_text(errors="replace")[-2000:])
            for pid in server.pids:
                # An embedded broker has a session of its own.
                ahead(pid)
            yield server
        finally:
            server._stop()

    def _comes_up(self, ready: Callable[[int], bool]) -> bool:
        deadline = time.monotonic() + START_S
        while self._process.poll() is None and time.monotonic() < deadline:
            if ready(self.port):
                return True
            time.sleep(0.02)
        return False

    def _stop(self) -> None:
        family = self.pids
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()


def _tree(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _tree(int(child))


def part_of(pid: int) -> str:
    """What a process is of a server: its broker, or a node (or whatever stands for one)."""
    with suppress(OSError):
        if Path(f"/proc/{pid}/comm").read_text().strip() == BROKER:
            return "broker"
    return "node"


def cpu_s(pids: Sequence[int]) -> float:
    """CPU seconds that these processes have used so far."""
    used = 0.0
    for pid in pids:
        with suppress(OSError):
            # As clock_getcpuclockid(3) has it. /proc counts in hundredths of a second, of which a
            # broker may need none in a short window.
            used += time.clock_gettime((~pid << 3) | 2)
    return used


def rss_kb(pid: int) -> int:
    """Resident memory, kB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def allow_files(wanted: int) -> None:
    """Let this process and its children open so many files, as far as the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def _machine_s() -> float:
    """CPU seconds that the whole machine has been busy: all but idle and waiting for disks."""
    first = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    busy = [int(field) for index, field in enumerate(first) if index not in (3, 4)]
    return sum(busy) / TICKS_PER_S


def _own_s() -> float:
    """CPU seconds of this process and of the loads that it has run to their end."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


class Window:
    """What was used within a `with` block: by each server, by their parts, and by others."""

    def __init__(self, servers: Sequence[int] = ()) -> None:
        self._servers = servers
        self._started = self._machine = self._own = 0.0
        self._before: dict[int, float] = {}
        self.each: dict[int, float] = {}
        self.seconds = self.server_s = self.foreign = 0.0
        self.by_part: dict[str, float] = {}

    def __enter__(self) -> Self:
        self._before = {pid: cpu_s([pid]) for pid in self._servers}
        self._own, self._machine = _own_s(), _machine_s()
        self._started = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._started
        own, machine = _own_s() - self._own, _machine_s() - self._machine
        self.each = {pid: cpu_s([pid]) - before for pid, before in self._before.items()}
        for pid, used in self.each.items():
            part = part_of(pid)
            self.by_part[part] = self.by_part.get(part, 0.0) + used
        self.server_s = sum(self.by_part.values())
        self.foreign = max(machine - own - self.server_s, 0.0) / self.seconds


def binary(name: str, beside: Path) -> str | None:
    """The program `name`, found in the folder `beside` or on PATH."""
    return shutil.which(name, path=str(beside)) or shutil.which(name)
