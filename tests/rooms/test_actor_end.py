"""Repeats are answered as before, and whatever ends a room, nobody waits for ever."""

import asyncio

import pytest
from tests.support.hosting import Person, world
from tests.support.virtual_time import turns, until, virtual
from tests.support.workshop import Workshop

from roomful_protocol.messages import MOVED, Accepted, Say

# -- repeats ---------------------------------------------------------------------------------------


@virtual
async def test_repeats_are_answered_as_before_and_not_before_what_they_repeat() -> None:
    async with world() as w:
        node = w.node(Workshop)
        ann = await Person(w, node, "ann").entered()
        node.log.may_write.clear()
        first = ann.say("hi", "do.say", id="x")
        repeat, other = ann.again(first), ann.say("hi", "do.say", id="x")
        hole = ann.ask(Say("do.say", "far"), n=9, base=1)
        await turns()
        assert [one.answer for one in (first, repeat, other, hole)] == [None] * 4
        node.log.may_write.set()
        await hole.answered()
        assert first.accepted == Accepted(2)
        assert repeat.accepted == other.accepted == Accepted(2, duplicate=True)
        assert hole.answer == MOVED
        assert w.said() == ["hi"]


@virtual
async def test_pipelined_repeats_of_ids_are_all_answered_in_one_go() -> None:
    """A client that comes back says again what was not acked, and its gateway does not wait in
    between."""
    async with world() as w:
        node = w.node(Workshop)
        old = await Person(w, node, "ann").entered()
        ids = [f"{number:032d}" for number in range(50)]
        for id in ids:
            await old.say("hi", "do.say", id).answered()
        new = await Person(w, node, "ann", attach="again").entered()
        again = [
            new.ask(Say("do.say", "hi", id), n=number, base=2) for number, id in enumerate(ids, 2)
        ]
        fresh = new.ask(Say("do.say", "new"), n=52, base=2)
        await fresh.answered()
        assert all(one.accepted.duplicate for one in again)
        assert w.said() == ["hi"] * 50 + ["new"]


# -- the end ---------------------------------------------------------------------------------------


@virtual
async def test_closing_finishes_what_runs_and_sends_away_what_waits() -> None:
    async with world() as w:
        node = w.node(Workshop)
        ann = await Person(w, node, "ann").entered()
        slow, waiting = ann.say(1, "do.slow"), ann.say("hi", "do.say")
        closing = asyncio.create_task(node.host.close())
        await turns()
        assert waiting.answer == MOVED
        assert ann.say("late", "do.say").answer == MOVED
        await closing
        assert slow.accepted == Accepted(2, "begun")
        assert node.host.rooms == 0


@virtual
async def test_a_fence_sends_everybody_elsewhere_and_nothing_more_is_written() -> None:
    async with world() as w:
        old = w.node(Workshop)
        ann = await Person(w, old, "ann").entered()
        old.log.may_write.clear()
        flying, slow, waiting = (
            ann.say("flying", "do.say"), ann.say(5, "do.slow"), ann.say("waiting", "do.say"),
        )  # fmt: skip
        await turns()
        new = w.node(Workshop, term=2)
        assert await Person(w, new, "bob").entered()
        written = w.blocks()
        old.log.may_write.set()
        await until(lambda: waiting.answer)
        assert [one.answer for one in (flying, slow, waiting)] == [MOVED] * 3
        await asyncio.sleep(10)
        assert w.blocks() == written
        assert ("lobby", "snap") not in w.store.blobs
        assert old.host.rooms == 0


@virtual
async def test_a_handler_that_outlives_its_failed_room_writes_nothing() -> None:
    """Not even where the log would take it: its state was that of a draft that is lost."""
    async with world() as w:
        node = w.node(Workshop)
        ann = await Person(w, node, "ann").entered()
        journal = node.host._actors["lobby"].journal
        packed, written = journal._block, len(w.blocks())

        def broken(draft: object) -> object:
            journal._block = packed  # type: ignore[method-assign]
            raise ValueError("a bug")

        journal._block = broken  # type: ignore[method-assign,assignment]
        lost, slow = ann.say("lost", "do.count"), ann.say(1, "do.slow")
        await asyncio.sleep(5)
        assert lost.answer == slow.answer == MOVED
        # The room is back, since somebody is in it, and that is all.
        assert [block.done for block in w.blocks()[written:]] == [()]
        assert w.said() == []


@pytest.mark.parametrize("turns_before", range(6))
@virtual
async def test_a_crash_answers_everybody(turns_before: int) -> None:
    async with world() as w:
        node = w.node(Workshop)
        ann = await Person(w, node, "ann").entered()
        node.log.may_tell.clear()
        asked = [ann.say("flying", "do.say"), ann.say(5, "do.slow"), ann.say("waiting", "do.say")]
        await turns(turns_before)
        await node.crash()
        assert [one.answer for one in asked] == [MOVED] * 3
