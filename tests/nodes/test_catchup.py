"""Members that cannot keep up, or were away for long."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support.rooms import Client, World, turns, until, world
from tests.support.sockets import check_chain
from tests.support.virtual_time import virtual

from roomful_nodes import feed as feed_module
from roomful_nodes import outbox as outbox_module
from roomful_nodes.outbox import HIGH, LOW
from roomful_protocol.blocks import EVERYONE, Audience
from roomful_protocol.frames import Since
from roomful_protocol.messages import Denied
from roomful_rooms.recent import Recent


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "PATIENCE_S", 0.002)
    monkeypatch.setattr(outbox_module, "_POLL_S", (0.001, 0.002))


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world() as made:
        yield made


async def test_who_falls_behind_is_told_and_catches_up_when_it_reads_again(here: World) -> None:
    slow, fast = await here.joined("slow"), await here.joined("fast")
    slow.transport.waiting = HIGH + 1
    here.room.say("one")
    await until(lambda: "lagging" in slow.types())
    for count in range(20):
        here.room.commit(EVERYONE, Audience(users=("fast",)))
        if count % 5 == 0:
            await turns()
    await until(lambda: len(fast.seqs) == 41)
    assert slow.seqs == [], "nothing more is pushed into a full socket"
    slow.transport.waiting = 0
    await until(lambda: slow.seqs[-1:] == [40])
    here.room.say("live again")
    await until(lambda: slow.seqs[-1:] == [42])
    check_chain(slow.frames, 0)
    assert len(slow.seqs) == 22
    assert here.metrics.lagging._value.get() == here.metrics.caught_up._value.get() == 1


async def test_a_long_past_is_written_at_the_clients_pace(here: World) -> None:
    for _ in range(400):
        here.room.say("x" * 1000)
    await here.room.page()
    ann = here.client("ann")
    ann.transport.stuck = True
    ann.join(Since(after=0))
    await until(lambda: ann.transport.waiting > LOW)
    told = len(ann.seqs)
    await turns(50)
    assert len(ann.seqs) == told < 400
    ann.transport.stuck, ann.transport.waiting = False, 0
    await until(lambda: len(ann.seqs) == 400)
    check_chain(ann.frames, 0)


async def test_who_makes_no_progress_is_closed(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "PATIENCE_S", 0.01)
    slow = await here.joined("slow")
    slow.transport.waiting = HIGH + 1
    here.room.say("one")
    await until(lambda: slow.closes == ["too_slow"])


async def test_an_owner_that_is_away_is_asked_again(here: World) -> None:
    for _ in range(300):
        here.room.say("x" * 2000)
    here.room.denials = []
    ann = here.client("ann")
    ann.join(Since(after=0))
    here.room.denials = [Denied("unavailable", "Nobody answers.")] * 2
    await until(lambda: len(ann.seqs) == 300)
    assert not here.room.denials
    check_chain(ann.frames, 0)


async def test_what_is_forgotten_while_catching_up_is_a_gap(here: World) -> None:
    for _ in range(600):
        here.room.say("x" * 1000)
    ann = here.client("ann")
    ann.join(Since(after=0))
    ann.transport.waiting = LOW + 1
    await turns()
    here.room.forget(keep=100)
    ann.transport.waiting = 0
    await until(lambda: ann.seqs[-1:] == [600])
    gap = next(frame["data"] for frame in ann.frames if frame["type"] == "gap")
    assert gap == {"from": 1, "to": 500, "reason": "retention"}
    assert ann.seqs == list(range(501, 601))


async def test_another_incarnation_while_catching_up_is_a_gap(here: World) -> None:
    for _ in range(300):
        here.room.say("x" * 1000)
    ann = here.client("ann")
    ann.join(Since(after=0))
    ann.transport.waiting = LOW + 1
    await turns()
    here.room.recent = Recent("e2", 0, ())
    here.room.say("anew", "and on")
    await until(lambda: here.hub.feed("lobby").epoch == "e2")
    ann.transport.waiting = 0
    await until(lambda: "gap" in ann.types())
    here.room.say("live")
    await until(lambda: ann.seqs == [3])
    gap = next(frame["data"] for frame in ann.frames if frame["type"] == "gap")
    assert gap == {"from": 1, "to": 2, "reason": "epoch", "epoch": "e2"}


async def test_a_socket_that_ends_while_catching_up_is_left_alone(here: World) -> None:
    for _ in range(300):
        here.room.say("x" * 1000)
    ann = here.client("ann")
    ann.join(Since(after=0))
    ann.transport.waiting = LOW + 1
    await turns()
    written = len(ann.transport.written)
    ann.membership.detach()
    ann.membership.outbox.shut()
    ann.transport.waiting = 0
    here.room.say("live")
    await turns(20)
    assert len(ann.transport.written) == written


@virtual
async def test_who_waits_for_a_busy_owner_goes_on_when_the_room_is_heard() -> None:
    async with world() as here:
        ann = await _refused_for_long(here)
        here.room.say("news")
        await until(lambda: ann.seqs[-1:] == [301], within_s=0.1)
        check_chain(ann.frames, 0)


@virtual
async def test_who_waits_for_a_busy_owner_asks_every_second_at_least() -> None:
    async with world() as here:
        ann = await _refused_for_long(here)
        await until(lambda: ann.seqs[-1:] == [300], within_s=1.1)
        check_chain(ann.frames, 0)


async def _refused_for_long(here: World) -> Client:
    """A member on its way through the past, whose questions have been refused for a minute."""
    for _ in range(300):
        here.room.say("x" * 2000)
    ann = here.client("ann")
    ann.join(Since(after=0))
    here.room.denials = [Denied("busy", "Too much to do.")] * 1000
    await asyncio.sleep(60)
    assert 10 < len(here.room.denials) < 950
    here.room.denials.clear()
    return ann
