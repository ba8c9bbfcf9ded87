"""A room's hold on its log: fencing, group commits, checkpoints, and letting go."""

import asyncio

import pytest
from tests.support.hosting import ROOM, Asked, Person, World, world
from tests.support.journals import SNAP, said, write_often
from tests.support.virtual_time import turns, until, virtual

from roomful_protocol.codecs.stored import unpack_snapshot
from roomful_protocol.messages import MOVED, Accepted
from roomful_rooms import welcome
from roomful_rooms.pace import PACE_S
from roomful_rooms.recovery import recover
from roomful_rooms.room import ChatRoom, Message, on


@pytest.fixture
def every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is due at every second block."""
    write_often(monkeypatch)


# -- blocks ----------------------------------------------------------------------------------------


@virtual
async def test_an_activation_names_its_term_and_writer_and_counts_its_blocks() -> None:
    async with world() as w:
        first = await Person(w, w.node(term=3), "ann").entered()
        await said(first, "a", "b")
        await first.node.host.close()
        await Person(w, w.node(term=4), "bob").entered()
        blocks = w.blocks()
        assert [(b.term, b.number) for b in blocks] == [
            (3, 1), (3, 2), (3, 3), (3, 4), (4, 1), (4, 2),
        ]  # fmt: skip
        writers = [b.writer for b in blocks]
        assert len(set(writers[:4])) == len(set(writers[4:])) == 1
        assert writers[0] != writers[4]
        assert [b.node for b in blocks] == ["n1"] * 4 + ["n2"] * (len(blocks) - 4)
        assert {b.epoch for b in blocks} == {blocks[0].epoch}
        assert [b.count for b in blocks] == [0, 1, 1, 1, 1, 2]
        assert (blocks[0].entries, blocks[4].entries) == ((), ())


@virtual
async def test_where_much_is_said_to_many_it_is_written_at_a_pace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("roomful_rooms.journal.MANY", 1)
    async with world() as w:
        ann = await Person(w, w.node(), "ann").entered()
        for text in "abc":
            ann.say(text)
        await turns()
        loop = asyncio.get_running_loop()
        began, written = loop.time(), len(w.blocks())
        for text in "de":
            ann.say(text)
        await turns()
        assert len(w.blocks()) == written + 1, "the first of them at once"
        last = [ann.say("f")]
        await turns()
        last.append(ann.say("g"))
        await turns()
        assert len(w.blocks()) == written + 1, "more may be said"
        for asked in last:
            await asked.answered()
        assert loop.time() == pytest.approx(began + PACE_S)
        assert [len(block.entries) for block in w.blocks()[-2:]] == [2, 2]


@virtual
async def test_what_is_said_to_few_waits_for_the_last_append_only() -> None:
    async with world() as w:
        ann = await Person(w, w.node(), "ann").entered()
        began = asyncio.get_running_loop().time()
        for _ in range(5):
            for text in "abc":
                ann.say(text)
            await turns()
        assert [len(block.entries) for block in w.blocks()[2:]] == [1, 2, 3, 3, 3, 3]
        assert asyncio.get_running_loop().time() == began


@virtual
async def test_one_message_at_a_time_waits_for_nothing() -> None:
    async with world() as w:
        ann = await Person(w, w.node(), "ann").entered()
        began = asyncio.get_running_loop().time()
        for text in "abc":
            ann.say(text)
            await turns()
        assert w.said() == ["a", "b", "c"]
        assert asyncio.get_running_loop().time() == began


@virtual
async def test_all_are_answered_once_if_an_answer_cannot_be_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    async with world() as w:
        ann = await Person(w, w.node(), "ann").entered()
        monkeypatch.setattr(welcome, "served_from", broken)
        bob, cat = Person(w, ann.node, "bob"), Person(w, ann.node, "cat")
        asked = [ann.say("before"), bob.enter(), cat.enter(), ann.say("after")]
        for one in asked:
            await one.answered()
        assert asked[0].answer == Accepted(2)
        assert [one.answer for one in asked[1:]] == [MOVED] * 3
        # A join that changes nothing is answered without an append.
        again = ann.enter()
        assert await again.answered() == MOVED
        assert ann.node.host.rooms == 0


@virtual
async def test_who_measures_writing_is_told_of_every_block() -> None:
    async with world() as w:
        ann = await Person(w, w.node(), "ann").entered()
        await said(ann, "a", "b")
        assert ann.node.blocks == w.blocks()


@virtual
async def test_what_has_no_effect_is_not_written_but_rides_on_the_next_block() -> None:
    class Mute(ChatRoom):
        @on("chat.nothing")
        def nothing(self, message: Message) -> None: ...

    async with world() as w:
        ann = await Person(w, w.node(Mute), "ann").entered()
        written = len(w.blocks())
        assert await ann.say("", "chat.nothing").answered() == Accepted()
        await ann.who().answered()
        assert len(w.blocks()) == written
        await said(ann, "something")
        assert [done.n for done in w.blocks()[-1].done] == [2, 3]


@virtual
async def test_commands_are_written_at_once_as_long_as_they_come_singly() -> None:
    async with world() as w:
        ann = await Person(w, w.node(), "ann").entered()
        written = len(w.blocks())

        def news() -> list[int]:
            return [len(block.entries) for block in w.blocks()[written:]]

        for count in (1, 2):
            asked = ann.say("alone")
            assert news() == [1] * count
            await asked.answered()
        crowd = [ann.say(text) for text in "abc"]
        assert news() == [1, 1, 1]
        await crowd[-1].answered()
        assert news() == [1, 1, 1, 2]
        crowd = [ann.say(text) for text in "def"]
        assert news() == [1, 1, 1, 2], "there may be more in this turn"
        await crowd[-1].answered()
        assert news() == [1, 1, 1, 2, 3]


@virtual
async def test_those_who_join_in_one_turn_share_a_block() -> None:
    """Also where the room was idle, and what comes alone is written at once."""
    async with world() as w:
        node = w.node()
        await Person(w, node, "ann").entered()
        written = len(w.blocks())
        crowd = [Person(w, node, name).enter() for name in ("bob", "cat", "dan")]
        for one in crowd:
            await one.answered()
        [block] = w.blocks()[written:]
        assert len(block.members) == 3
        assert len(block.entries) == 1, "and one entry tells of all"


# -- fencing ---------------------------------------------------------------------------------------


@virtual
async def test_a_later_term_keeps_an_earlier_one_out() -> None:
    async with world() as w:
        await Person(w, w.node(term=7), "ann").entered()
        written = len(w.blocks())
        late = w.node(term=6)
        assert await Person(w, late, "bob").enter().answered() == MOVED
        assert len(w.blocks()) == written
        assert late.host.rooms == 0


@virtual
async def test_two_that_open_at_once_both_find_out() -> None:
    async with world() as w:
        one, other = w.node(term=1), w.node(term=2)
        one.log.may_write.clear()
        other.log.may_write.clear()
        ann, bob = Person(w, one, "ann"), Person(w, other, "bob")
        asked = [ann.enter(), bob.enter()]
        await turns(50)
        other.log.may_write.set()
        await asked[1].answered()
        one.log.may_write.set()
        assert await asked[0].answered() == MOVED
        assert list(w.folded().presence) == [bob.member]


@pytest.mark.parametrize("pace", [2, 6, 9, 12])
@pytest.mark.parametrize("offset", range(12))
@virtual
async def test_another_may_take_over_at_any_point(
    every_block: None, pace: int, offset: int
) -> None:
    """Two hosts write as they like: each message is in the log once, or was not taken."""
    async with world() as w:
        old, new = w.node(term=1), w.node(term=2)
        ann, bob = await Person(w, old, "ann").entered(), Person(w, new, "bob")
        asked = list[Asked]()
        for number in range(30):
            asked.append(ann.say(f"ann {number}"))
            await turns(offset if number == 10 else pace)
            if number == 10:
                asked.append(bob.enter())
            if number > 10 and number % 3 == 0:
                asked.append(bob.say(f"bob {number}"))
        await until(lambda: all(one.answers for one in asked))
        if all(one.answer != MOVED for one in asked):
            asked.append(ann.say("too late"))
            assert await asked[-1].answered() == MOVED
        ann.at(new)
        again = [ann.again(one) for one in asked if one.answer == MOVED]
        await until(lambda: all(one.answers for one in again))
        check_accepted(w, [one for one in [*asked, *again] if one.answer != MOVED])
        assert len([text for text in w.said() if text.startswith("ann")]) == 30
        await until(lambda: old.host.rooms == 0)
        from_log, fresh = w.folded(), await recover(ROOM, new.log, new.archive)
        assert list(fresh.presence) == list(from_log.presence)
        assert (fresh.seq, fresh.whole) == (from_log.seq, True)


def check_accepted(w: World, asked: list[Asked]) -> None:
    frames = w.frames()
    texts = w.said()
    assert len(set(texts)) == len(texts)
    for one in asked:
        if isinstance(one.answer, Accepted):
            assert one.answer.seq is not None
            assert frames[one.answer.seq - 1]["data"] == getattr(one.command.ask, "data", None)


@virtual
async def test_a_fence_while_a_page_is_written_leaves_the_archive_alone(every_block: None) -> None:
    """The new owner's snapshot must not be written over by an older one."""
    async with world() as w:
        old = w.node(term=1)
        ann = await Person(w, old, "ann").entered()
        old.archive.may_save.clear()
        await said(ann, "a", "b", "c")
        new = w.node(term=2)
        bob = await Person(w, new, "bob").entered()
        await said(bob, "d", "e")
        await new.host.close()
        blobs = dict(w.store.blobs)
        assert await ann.say("f").answered() == MOVED
        old.archive.may_save.set()
        await asyncio.sleep(10)
        assert w.store.blobs == blobs


# -- letting go ------------------------------------------------------------------------------------


@virtual
async def test_closing_leaves_a_snapshot_so_that_the_next_owner_reads_no_block() -> None:
    async with world() as w:
        ann = await Person(w, w.node(), "ann").entered()
        await said(ann, "a", "b")
        await ann.node.host.close()
        room = await recover(ROOM, ann.node.log, ann.node.archive)
        assert (room.seq, room.blocks, list(room.presence)) == (3, 0, [ann.member])
        again = await Person(w, w.node(term=2), "bob").entered()
        answer = again.read(after=0).entries
        assert [(page.first, page.last) for page in answer.pages] == [(1, 3)]


@virtual
async def test_closing_what_has_not_changed_writes_nothing() -> None:
    async with world() as w:
        ann = await Person(w, w.node(), "ann").entered()
        await ann.node.host.close()
        reader = Person(w, w.node(term=2), "reader")
        await reader.who().answered()
        reader.node.archive.may_save.clear()
        await reader.node.host.close()
        assert reader.node.archive.saved == []


@virtual
async def test_closing_waits_for_what_is_in_flight_and_for_a_checkpoint(every_block: None) -> None:
    async with world() as w:
        node = w.node()
        ann = await Person(w, node, "ann").entered()
        await said(ann, "a", "b")
        node.archive.may_save.clear()
        node.log.may_write.clear()
        asked = ann.say("c")
        closing = asyncio.create_task(node.host.close())
        await turns(50)
        assert not closing.done()
        node.log.may_write.set()
        await turns(50)
        assert asked.accepted.seq == 4
        assert not closing.done()
        node.archive.may_save.set()
        await closing
        assert unpack_snapshot(w.store.blobs[SNAP]).seq == 4


@virtual
async def test_the_broker_may_be_away_for_long() -> None:
    async with world() as w:
        node = w.node()
        ann = await Person(w, node, "ann").entered()
        node.link.cut()
        asked = [ann.say(str(number)) for number in range(3)]
        await asyncio.sleep(600)
        assert [one.answer for one in asked] == [None] * 3
        node.link.mend()
        await until(lambda: all(one.answers for one in asked))
        assert w.said() == ["0", "1", "2"]


@virtual
async def test_opening_fails_while_the_broker_is_away_and_works_later() -> None:
    async with world() as w:
        node = w.node()
        node.link.cut()
        ann = Person(w, node, "ann")
        entering = ann.enter()
        assert await entering.answered() == MOVED
        node.link.mend()
        await asyncio.sleep(1)
        again = ann.again(entering)
        await again.answered()
        assert again.welcome.listed == (ann.member,)
