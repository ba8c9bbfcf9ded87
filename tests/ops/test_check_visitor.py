"""A client of the check, on a real node: recorded in every codec, and broken on purpose."""

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import TypeVar

import pytest
from tests.support.cluster import until
from tests.support.nodes import MemoryCluster, MemoryNode

from roomful.check.history import Acked, Broke, Heard, Joined, Lost, Opened
from roomful.check.recorder import Recorder
from roomful.check.visitor import Visitor, Where
from roomful_rooms.tasks import Tasks

T = TypeVar("T")
Invite = Callable[[str, bool], Visitor]


@pytest.fixture
async def node() -> AsyncIterator[MemoryNode]:
    async with MemoryCluster().node(grace_s=30) as started:
        yield started


@pytest.fixture
async def invite(node: MemoryNode) -> AsyncIterator[Invite]:
    """Somebody who connects: `invite(name, binary)`."""
    tasks, now = Tasks("test"), asyncio.get_running_loop().time

    def make(name: str, binary: bool) -> Visitor:
        recorder = Recorder(now, {})
        chance = Random(name)  # noqa: S311
        visitor = Visitor(name, Where([node.url]), recorder, chance, binary=binary)
        tasks.start(visitor.run(), name)
        return visitor

    yield make
    await tasks.close()


def of(visitor: Visitor, kind: type[T]) -> list[T]:
    return [event for event in visitor.recorder.events if isinstance(event, kind)]


@pytest.mark.parametrize("binary", [False, True])
async def test_it_says_and_hears_the_same_in_every_codec(invite: Invite, binary: bool) -> None:
    ann, bob = invite("ann", binary), invite("bob", False)
    for one in (ann, bob):
        one.join("lobby", 0)
    await until(lambda: ann.settled and bob.settled, "both are there")
    ann.ask({"type": "chat.message", "room": "lobby", "data": {"key": "k1", "b": b"\x00\xff"}})

    def heard() -> list[Heard]:
        of_ann = [event for event in of(ann, Heard) if event.content.key]
        of_bob = [event for event in of(bob, Heard) if event.content.key]
        return [*of_ann, *of_bob] if of_ann and of_bob else []

    one, other = await until(heard, "both hear it")
    assert one.content == other.content
    await until(lambda: ann.settled, "it is acked")
    assert [(ack.key, ack.seq) for ack in of(ann, Acked)] == [("k1", one.seq)]


@pytest.mark.parametrize("binary", [False, True])
async def test_a_broken_connection_is_replaced(invite: Invite, binary: bool) -> None:
    ann = invite("ann", binary)
    ann.join("lobby", 0)
    await until(lambda: ann.settled, "she is there")
    ann.drop()
    await until(lambda: len(of(ann, Opened)) == 2 and ann.settled, "she is back")
    assert len(of(ann, Broke)) == len(of(ann, Lost)) == 1
    first, second = of(ann, Opened)
    assert second.resumed
    assert second.session == first.session
    assert [joined.recovered for joined in of(ann, Joined)] == [True, True]


async def test_who_stays_away_comes_back_when_welcome(invite: Invite) -> None:
    ann = invite("ann", False)
    ann.join("lobby", 0)
    await until(lambda: ann.settled, "she is there")
    ann.stay_away()
    await until(lambda: of(ann, Lost), "she is gone")
    ann.ask({"type": "chat.message", "room": "lobby", "data": {"key": "k1"}})
    assert not ann.settled
    ann.welcome()
    await until(lambda: ann.settled, "she is back")
    assert [ack.key for ack in of(ann, Acked)] == ["k1"]
