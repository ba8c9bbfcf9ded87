"""A loop that stands still is reported from outside, with what it stands still in."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from types import FrameType

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict
from tests.support.cluster import until
from tests.support.hosting import Person, world

from roomful_nodes.watchdog import Watchdog, running
from roomful_protocol.blocks import Member
from roomful_protocol.messages import Enter
from roomful_rooms.room import Message, Room, on

STALL_S = 0.5


class Watched:
    """`lines`: what was logged; `stalls`: how often it was counted."""

    def __init__(self, lines: list[EventDict]) -> None:
        self.lines = lines
        self.stalls = 0

    def stalled(self) -> None:
        self.stalls += 1

    def events(self, name: str) -> list[EventDict]:
        return [line for line in self.lines if line["event"] == name]

    def block(self, reports: int) -> None:
        """Stand still until so many reports have been made."""
        deadline = time.monotonic() + 10
        while len(self.events("loop.stalled")) < reports:
            assert time.monotonic() < deadline, "nobody notices"
            time.sleep(0.01)


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    with capture_logs() as lines:
        watched = Watched(lines)
        task = asyncio.create_task(Watchdog(watched.stalled, STALL_S).run())
        await asyncio.sleep(0)
        yield watched
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("type", ["block.now", "block.later"])
async def test_a_blocking_handler_is_named_while_it_blocks(watched: Watched, type: str) -> None:
    class Blocking(Room):
        @on("block.now")
        def now(self, _: Message) -> None:
            watched.block(reports=2)

        @on("block.later")
        async def later(self, _: Message) -> None:
            await asyncio.sleep(0.01)
            watched.block(reports=2)

    async with world() as made:
        ann = await Person(made, made.node(Blocking), "ann").entered()
        await ann.say(None, type).answered()
    await until(lambda: watched.events("loop.resumed"), "it is said that the loop goes on")
    first, second = watched.events("loop.stalled")
    assert (first["room"], first["ask"], first["log_level"]) == ("lobby", type, "error")
    assert "watched.block(reports=2)" in first["stack"]
    assert STALL_S <= first["seconds"] < second["seconds"]
    assert watched.stalls == 1


async def test_what_is_no_rooms_fault_is_shown_all_the_same(watched: Watched) -> None:
    watched.block(reports=1)
    [line] = watched.events("loop.stalled")
    assert (line["room"], line["ask"]) == (None, None)
    assert "watched.block(reports=1)" in line["stack"]


async def test_a_loop_that_goes_round_is_not_reported(watched: Watched) -> None:
    for _ in range(5):
        time.sleep(STALL_S / 3)  # noqa: ASYNC251  less than would be a stall
        await asyncio.sleep(0.15)
    assert watched.lines == []


async def test_joining_and_making_a_room_is_told_apart() -> None:
    seen: list[tuple[str | None, str | None]] = []

    def here() -> FrameType:
        return sys._getframe(1)

    class Looking(Room):
        def on_join(self, member: Member) -> None:
            assert member.user == "ann"
            seen.append(running(here()))

    async with world() as made:
        await Person(made, made.node(Looking), "ann").entered()
    assert seen == [("lobby", Enter.__name__)]
    assert running(here()) == (None, None)
