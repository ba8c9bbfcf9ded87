"""A real nats-server for tests: fixtures of a shared one and of one to be killed.

Test modules take the fixtures in with `pytest_plugins = ["tests.support.nats_server"]`:

nats_server     one server for the whole run; never harm it
frail_server    a server of the test's own: kill it, pause it, restart it on the same port and store
subjects        `Subjects` with a prefix of the test's own, so that streams are its own, too
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from tests.support.cluster import free_port
from tests.support.orphans import die_with_parent

from roomful_protocol.subjects import Subjects

START_S = 10.0
TOKEN = "tests-only"
_prefixes = count(1)

_CONFIGURATION = """
server_name: {name}
listen: "127.0.0.1:{port}"
ports_file_dir: "{folder}"
logfile: "{folder}/log"
"""
_TOKEN = f'authorization {{ token: "{TOKEN}" }}\n'

_JETSTREAM = """
jetstream {{ store_dir: "{folder}/store", sync_interval: "{sync}" }}
"""


def binary() -> str:
    """The server beside the interpreter, or the one on PATH."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        pytest.fail('nats-server is missing; install the extra "embedded"')
    return found


class NatsServer:
    """One server process; its port and its store survive restarts. `access`: who may come in,
    `more`: further settings."""

    token = TOKEN

    def __init__(
        self,
        folder: Path,
        jetstream: bool = True,
        *,
        name: str = "tests",
        sync: str = "200ms",
        access: str = _TOKEN,
        more: str = "",
    ) -> None:
        self.name = name
        self.store = folder / "store"
        self._folder = folder
        self._jetstream = jetstream
        self._sync, self._more = sync, access + more
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Return when it listens."""
        configuration = self._folder / "nats.conf"
        template = _CONFIGURATION + (_JETSTREAM if self._jetstream else "")
        text = template.format(
            name=self.name, port=self._port, folder=self._folder, sync=self._sync
        )
        configuration.write_text(text + self._more)
        command = [binary(), "-c", str(configuration)]
        self._process = subprocess.Popen(command, preexec_fn=die_with_parent)
        ports = self._folder / f"nats-server_{self.pid}.ports"
        deadline = time.monotonic() + START_S
        while not _listens(ports):
            assert self._process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.005)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: it writes its store out, and ends."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        self.signal(how)
        assert self._process is not None
        self._process.wait(START_S)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def restart(self) -> None:
        self.kill()
        self.start()

    def pause(self) -> None:
        """Sockets stay open, nothing answers. Returns when the last of its threads stands still."""
        self.signal(signal.SIGSTOP)
        deadline = time.monotonic() + START_S
        while not all(_stopped(thread) for thread in Path(f"/proc/{self.pid}/task").iterdir()):
            assert time.monotonic() < deadline, "the server does not stop"
            time.sleep(0.001)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None:
            self.resume()
            self.kill()


def _stopped(thread: Path) -> bool:
    """Whether the kernel says that the thread is stopped (proc(5): state T)."""
    return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"


def _listens(ports: Path) -> bool:
    """Whether the server has written down that it does."""
    try:
        return bool(json.loads(ports.read_text())["nats"])
    except (FileNotFoundError, ValueError):
        return False


def _running(folder: Path) -> Iterator[NatsServer]:
    server = NatsServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    yield from _running(tmp_path_factory.mktemp("nats"))


@pytest.fixture
def frail_server(tmp_path: Path) -> Iterator[NatsServer]:
    yield from _running(tmp_path)


@pytest.fixture
def subjects() -> Subjects:
    return Subjects(f"t{next(_prefixes)}")
