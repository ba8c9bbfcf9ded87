"""What a message costs a node's Python, step by step, without sockets and without a broker.

    python ops/bench/way_in.py [--messages 20000]

A node runs in this process on the memory twins of its seams. Messages go in where a socket's parser
hands them over, and the bytes for the members come out where they would be written. Told are CPU
microseconds, the least of many batches; and bytecodes of each module, which are counted, and so the
same on any machine and at any load (for one version of Python).
"""

import argparse
import asyncio
import logging
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final
from uuid import uuid4

import orjson
import structlog
import uvloop

from roomful_nodes.conversation import Conversation
from roomful_nodes.memory_bus import BusSwitch, MemoryBus
from roomful_nodes.node import Node
from roomful_nodes.outbox import Outbox
from roomful_nodes.seams import Seams
from roomful_nodes.settings import NodeSettings
from roomful_nodes.site import serving
from roomful_protocol.codecs import JSON
from roomful_protocol.frames import Limits
from roomful_protocol.subjects import Subjects
from roomful_rooms.clock import Clock
from roomful_rooms.kinds import Kinds
from roomful_rooms.memory_directory import DirectoryStore, MemoryDirectory
from roomful_rooms.memory_link import Link
from roomful_rooms.memory_log import LogStore, MemoryArchive, MemoryLog
from roomful_rooms.room import Message, Room, on

MEMBERS: Final = 16
BATCH: Final = 256
"""Messages that come in one turn of the loop, where they are not each for a room of its own."""
PATIENCE: Final = 100_000
"""Turns of the loop in which what was said must have been answered."""
PAYLOAD: Final = {"text": "x" * 100}


class Silent(Room):
    """Hears everything and does nothing."""

    rooms = "silent*"

    @on("*")
    def said(self, message: Message) -> None:
        pass


class Way:
    """One kind of message, among `rooms` rooms, with `fields` besides type and data."""

    def __init__(self, name: str, room: str, rooms: int, *, ids: bool, **fields: object) -> None:
        self.name, self.room, self.rooms = name, room, rooms
        self._ids = count(1) if ids else None
        self._fields = fields

    def messages(self, number: int) -> list[bytes]:
        """Fresh ones, as a client in a browser writes them."""
        shared = {"type": "chat.message", **self._fields, "data": PAYLOAD}
        if self._ids is None:
            return [orjson.dumps(shared)] * number
        return [orjson.dumps({"id": next(self._ids), **shared}) for _ in range(number)]


WAYS: Final = (
    Way("to a handler that does nothing", "silent", 1, ids=False, ephemeral=True),
    Way("ephemeral, to 16 members", "room", 1, ids=False, ephemeral=True),
    Way("through the log, to 16 members", "room", 1, ids=False),
    Way("… with an id, and so an ack", "room", 1, ids=True),
    Way("… each in a room of its own", "room", 200, ids=True),
)


class Nowhere:
    """A transport that leads there."""

    def write(self, data: bytes, /) -> None:
        """Nobody is there to read it."""

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Whoever speaks here waits for answers by itself."""

    def resume_reading(self) -> None:
        """It has not stopped."""


@asynccontextmanager
async def node() -> AsyncIterator[Node]:
    """A node of its own cluster, that allows any rate."""
    clock = Clock(time.monotonic, lambda: time.time_ns() // 10**6)
    link, store = Link(), LogStore()
    seams = Seams(
        log=MemoryLog(store, link),
        archive=MemoryArchive(store, link),
        directory=MemoryDirectory(DirectoryStore(clock), link),
        bus=MemoryBus(BusSwitch(), link),
        subjects=Subjects(),
        clock=clock,
        new_id=lambda: uuid4().hex,
    )
    settings = NodeSettings(port=0, limits=Limits(messages_per_s=1e9, burst=10**9))
    async with serving(settings, Kinds([("silent*", Silent)]), seams) as started:
        yield started


class Members:
    """Of one way's rooms; they speak in turn."""

    def __init__(self, started: Node, way: Way) -> None:
        self._way, self._metrics = way, started.metrics
        self._asked = max(way.rooms, MEMBERS)
        self._lines = [
            _joined(started, f"{way.room}{number % way.rooms}", f"u{number}")
            for number in range(self._asked)
        ]

    async def settle(self) -> None:
        """Return when all is answered. Raises TimeoutError."""
        for _ in range(PATIENCE):
            await asyncio.sleep(0)
            if self._metrics.commands_accepted.count == self._asked:
                return
        raise TimeoutError(f"Not every message {self._way.name} was accepted.")

    async def say(self, messages: list[bytes]) -> None:
        """Have all of them said, and wait until they are answered."""
        lines = self._lines
        for start in range(0, len(messages), BATCH):
            batch = messages[start : start + BATCH]
            for line in lines:
                line.hear()
            for number, message in enumerate(batch, start):
                lines[number % len(lines)].receive(message, True)
            self._asked += len(batch)
            await self.settle()


def _joined(started: Node, room: str, user: str) -> Conversation:
    outbox = Outbox(Nowhere(), JSON, lambda: None)
    line = started.gateway.begin([("room", room), ("name", user)], outbox, lambda: None)
    if line is None:
        raise ValueError(f"{user} is not let in")
    return line


# -- counting --------------------------------------------------------------------------------------


@contextmanager
def counting(found: Counter[str]) -> Iterator[None]:
    """Count the bytecodes that run meanwhile, by the file that they stand in."""
    by_code: Counter[CodeType] = Counter()

    def each(frame: FrameType, event: str, _: object) -> Callable[..., Any]:
        if event == "opcode":
            by_code[frame.f_code] += 1
        return each

    def called(frame: FrameType, _: str, __: object) -> Callable[..., Any]:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return each

    sys.settrace(called)
    try:
        yield
    finally:
        sys.settrace(None)
    for code, number in by_code.items():
        found[Path(code.co_filename).name] += number


async def measured(way: Way, messages: int) -> tuple[float, Counter[str]]:
    """CPU microseconds of a message, and its bytecodes by module."""
    found: Counter[str] = Counter()
    async with node() as started:
        members = Members(started, way)
        await members.settle()
        least = float("inf")
        for _ in range(max(messages // (8 * BATCH), 1)):
            said = way.messages(8 * BATCH)
            before = time.process_time()
            await members.say(said)
            least = min(least, (time.process_time() - before) / len(said) * 1e6)
        said = way.messages(2 * BATCH)
        with counting(found):
            await members.say(said)
    own = Path(__file__).name
    per = {name: number / len(said) for name, number in found.items() if name != own}
    return least, Counter({name: round(number) for name, number in per.items() if number >= 1})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=20_000, help="of each kind")
    messages: int = parser.parse_args().messages
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    results = [(way.name, *uvloop.run(measured(way, messages))) for way in WAYS]
    for name, microseconds, by_module in results:
        print(f"{microseconds:6.1f} µs {sum(by_module.values()):6,} bytecodes  {name}")
    print("\nbytecodes by module, in the same order:")
    modules = Counter[str]()
    for _, _, by_module in results:
        modules.update(by_module)
    for module, _ in modules.most_common():
        print("".join(f"{by_module[module]:7,}" for _, _, by_module in results), module)


if __name__ == "__main__":
    main()
