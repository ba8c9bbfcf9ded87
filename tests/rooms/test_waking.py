"""Rooms are woken in time, also while a part of the broker is away and others are not."""

import asyncio
from collections.abc import Callable

import pytest
from tests.support.hosting import ROOM, Node, Person, World, world
from tests.support.virtual_time import until, virtual

from roomful_protocol.ids import partition_of
from roomful_rooms.log import Record, Unavailable
from roomful_rooms.waking import OPENING, OPENING_S, SEARCHING

PATIENCE_S = 5.0
"""So long the broker is asked before it is Unavailable."""


def sooner(count: int) -> list[str]:
    """Rooms of as many partitions, all of which are looked at before that of ROOM."""
    found: dict[int, str] = {}
    for number in range(100_000):
        found.setdefault(partition_of(f"r{number}"), f"r{number}")
    return [found[partition] for partition in range(partition_of(ROOM))][:count]


async def left_behind(w: World, rooms: list[str]) -> None:
    """A node that crashes, with a member in each of `rooms`."""
    node = w.node()
    for room in rooms:
        await Person(w, node, "ann", room=room).entered()
    await node.crash()


def runs(node: Node) -> Callable[[], bool]:
    """Whether ROOM is open on `node`."""

    def opened() -> bool:
        actor = node.host._actors.get(ROOM)
        return actor is not None and actor.opening.done()

    return opened


@virtual
async def test_partitions_that_cannot_be_searched_keep_no_other_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world() as w:
        await left_behind(w, [ROOM])
        node = w.node(term=None)
        away, rooms = {partition_of(room) for room in sooner(16)}, node.log.rooms

        async def some_rooms(partition: int) -> list[Record]:
            if partition in away:
                await asyncio.sleep(PATIENCE_S)
                raise Unavailable("no leader")
            return await rooms(partition)

        monkeypatch.setattr(node.log, "rooms", some_rooms)
        node.own(2)
        await until(runs(node), PATIENCE_S * len(away) / SEARCHING + 5)


@virtual
async def test_rooms_that_do_not_open_keep_no_other_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world() as w:
        stuck = sooner(2 * OPENING)
        await left_behind(w, [*stuck, ROOM])
        node = w.node(term=None)
        append, mended = node.log.append, asyncio.Event()

        async def some_append(room: str, data: bytes, after: int) -> int:
            if room in stuck:
                await mended.wait()
            return await append(room, data, after)

        monkeypatch.setattr(node.log, "append", some_append)
        node.own(2)
        await until(runs(node), 4 * OPENING_S)
        mended.set()
        await until(lambda: set(node.host._actors) == {*stuck, ROOM}, 5)
        await until(lambda: not [t for t in node.tasks._running if "wake" in t.get_name()], 5)
