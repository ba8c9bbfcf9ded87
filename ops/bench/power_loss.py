"""What a power failure costs: how many acknowledged messages nats-server forgets, by its settings.

    sudo python ops/bench/power_loss.py [--repeats 3] [--seconds 4]

Each server has its store on an ext4 of its own, on a loop device. While 64 appends are under way
the file systems are shut down without flushing (as a machine that loses power drops what is only in
memory), the servers are killed, the file systems mounted again, the servers started. Then the
stream is asked how far it goes. It needs root, Linux with loop devices, mkfs.ext4 and nats-server.
"""

import argparse
import asyncio
import fcntl
import logging
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from roomful.embedded_folder import SYNC_S
from roomful.embedded_process import find_binary
from roomful_nodes.nats_connection import BrokerError, NatsConnection
from roomful_nodes.nats_requests import NoAnswer
from roomful_nodes.nats_stored import Rejected, call, newest, parsed

IN_FLIGHT: Final = 64
PAYLOAD: Final = b"x" * 200
IMAGE_BYTES: Final = 2**30
START_S: Final = 90.0
"""A cluster of which all have lost power takes its time."""
_SHUTDOWN: Final = 0x8004587D
"""EXT4_IOC_SHUTDOWN; with 2 for an argument, not even the journal is flushed."""
_NO_FLUSH: Final = 2

_CONFIGURATION: Final = """
server_name: s{number}
listen: "127.0.0.1:{port}"
jetstream {{ store_dir: "{store}", sync_interval: "{sync}" }}
"""
_CLUSTER: Final = 'cluster {{ name: c, listen: "127.0.0.1:{route}", routes: [{routes}] }}\n'


@dataclass(frozen=True, slots=True)
class Case:
    """`sync`: the servers' sync_interval. `victims`: how many of `copies` lose power at once."""

    sync: str
    copies: int
    victims: int


CASES: Final = (
    Case(f"{round(SYNC_S * 1000)}ms", 1, 1), Case("200ms", 1, 1), Case("1s", 1, 1),
    Case("2m", 1, 1), Case("always", 1, 1), Case("2m", 3, 1), Case("2m", 3, 3),
    Case("always", 3, 3),
)  # fmt: skip


@dataclass(slots=True)
class Outcome:
    """What one failure did: acknowledged, forgotten, and the age of the oldest forgotten one.

    `returned`: the stream had a leader again in time.
    """

    acked: int
    lost: int
    lost_s: float
    returned: bool = True


@dataclass(slots=True)
class Server:
    """One server, its configuration file, and the mounted image that holds its store."""

    configuration: Path
    image: Path
    mounted: Path
    url: str
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    def start(self) -> None:
        command = [find_binary(), "-c", str(self.configuration)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def lose_power(self) -> None:
        """Nothing reaches the disk from now on."""
        directory = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(directory, _SHUTDOWN, struct.pack("I", _NO_FLUSH))
        finally:
            os.close(directory)

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        self.end()
        subprocess.run(["umount", self.mounted], check=False)

    def boot(self) -> None:
        """Come back, once ended, with what the disk has."""
        subprocess.run(["umount", self.mounted], check=True)
        subprocess.run(["mount", "-o", "loop", self.image, self.mounted], check=True)
        self.start()


@contextmanager
def running(case: Case) -> Iterator[list[Server]]:
    """As many servers as `case` has copies, each on a file system of its own."""
    with tempfile.TemporaryDirectory(prefix="power-loss-") as folder, ExitStack() as stack:
        ports = [_free_port() for _ in range(2 * case.copies)]
        servers = [_made(Path(folder), n, case, ports) for n in range(case.copies)]
        for server in servers:
            stack.callback(server.close)
            server.start()
        yield servers


def _made(folder: Path, number: int, case: Case, ports: Sequence[int]) -> Server:
    image, mounted = folder / f"{number}.img", folder / f"{number}"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, mounted], check=True)
    port, routes = ports[number], ports[case.copies :]
    text = _CONFIGURATION.format(number=number, port=port, store=mounted / "js", sync=case.sync)
    if case.copies > 1:
        others = ", ".join(f'"nats://127.0.0.1:{one}"' for one in routes)
        text += _CLUSTER.format(route=routes[number], routes=others)
    configuration = folder / f"{number}.conf"
    configuration.write_text(text)
    return Server(configuration, image, mounted, f"nats://127.0.0.1:{port}")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def measure(case: Case, seconds: float) -> Outcome:
    """Fail once. Raises BrokerError and TimeoutError if the servers do not come up (again)."""
    with running(case) as servers:
        # The last one stays, if one does: so it is asked.
        urls = [server.url for server in servers[case.victims :] or servers]
        async with await NatsConnection.open(urls, name="bench", timeout_s=START_S) as connection:
            await _made_stream(connection, case.copies)
            os.sync()
            acked: dict[int, float] = {}
            writers = [asyncio.create_task(_write(connection, acked)) for _ in range(IN_FLIGHT)]
            await asyncio.sleep(seconds)
            at = time.monotonic()
            for server in servers[: case.victims]:
                server.lose_power()
            for writer in writers:
                writer.cancel()
            await asyncio.wait(writers)
        # What is acknowledged afterwards is no promise that was kept or broken before.
        acked = {number: when for number, when in acked.items() if when < at}
        for server in servers[: case.victims]:
            server.end()
        for server in servers[: case.victims]:
            server.boot()
        async with await NatsConnection.open(urls, name="bench", timeout_s=START_S) as connection:
            last, returned = await _last_if_any(connection)
    lost = [when for number, when in acked.items() if number > last]
    return Outcome(len(acked), len(lost), at - min(lost, default=at), returned)


async def _write(connection: NatsConnection, acked: dict[int, float]) -> None:
    while True:
        try:
            _, answer = await connection.request(b"bench.one", PAYLOAD)
            acked[parsed(answer)["seq"]] = time.monotonic()
        except (NoAnswer, Rejected):
            await asyncio.sleep(0.01)


async def _made_stream(connection: NatsConnection, copies: int) -> None:
    stream = {
        "name": "bench", "subjects": ["bench.>"], "storage": "file", "num_replicas": copies,
    }  # fmt: skip
    async with asyncio.timeout(START_S):
        while True:
            try:
                await call(connection, "STREAM.CREATE.bench", stream)
                await _last(connection)
            except (NoAnswer, Rejected):
                await asyncio.sleep(0.2)
            else:
                return


async def _last_if_any(connection: NatsConnection) -> tuple[int, bool]:
    """The same as `_last`, or 0 and False if nobody leads the stream in time."""
    try:
        return await _last(connection), True
    except TimeoutError:
        return 0, False


async def _last(connection: NatsConnection) -> int:
    """The number of the last message that the stream's leader has, once there is one."""
    async with asyncio.timeout(START_S):
        while True:
            try:
                found = await newest(connection, "bench", "bench.one")
            except (NoAnswer, Rejected):
                await asyncio.sleep(0.2)
            else:
                return found.position if found else 0


def main() -> int:
    """Print one line a case: the worst of its repeats."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of writing before each failure")
    parser.add_argument("--copies", type=int, help="only the cases with so many")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("Mounting file systems needs root.", file=sys.stderr)
        return 2
    print("sync_interval copies lose power    acked     lost  seconds")
    for case in CASES:
        if options.copies not in (None, case.copies):
            continue
        try:
            outcomes = [asyncio.run(measure(case, options.seconds)) for _ in range(options.repeats)]
        except (BrokerError, TimeoutError, subprocess.CalledProcessError, OSError) as problem:
            print(f"{case}: {problem!r}", file=sys.stderr)
            return 1
        worst = max(outcomes, key=lambda one: one.lost_s)
        print(
            f"{case.sync:13} {case.copies:6} {case.victims:10} {worst.acked:8} {worst.lost:8}"
            f" {worst.lost_s:8.2f}{'' if worst.returned else '  no leader any more'}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
