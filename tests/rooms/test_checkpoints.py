"""Snapshots and pages: when they are due, what is in them, and when writing has to wait."""

import asyncio

import pytest
from structlog.typing import EventDict
from tests.support.hosting import ROOM, Asked, Person, world
from tests.support.journals import SNAP, checkpointed, said, write_often
from tests.support.virtual_time import turns, until, virtual

from roomful_protocol.blocks import Member
from roomful_protocol.codecs.stored import unpack_page, unpack_snapshot
from roomful_rooms import checkpoints as module
from roomful_rooms import recent
from roomful_rooms.log import Unavailable
from roomful_rooms.recovery import recover
from roomful_rooms.room import ChatRoom, Room


@pytest.fixture
def every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is due at every second block."""
    write_often(monkeypatch)


@virtual
async def test_a_checkpoint_is_due_after_so_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_BLOCKS", 5)
    async with world() as w:
        ann = await Person(w, w.node(), "ann").entered()
        await said(ann, *"abcd")
        assert w.store.blobs == {}
        await said(ann, "e")
        await checkpointed(w, 6)
        snapshot = unpack_snapshot(w.store.blobs[SNAP])
        assert snapshot.position == w.store.records[ROOM][-1].position
        assert [(page.first, page.last) for page in snapshot.pages] == [(1, 6)]
        assert snapshot.members == (ann.member,)
        page = unpack_page(w.store.blobs[ROOM, "page-1-6"])
        assert list(page) == w.entries()


@virtual
async def test_a_checkpoint_is_due_after_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_BYTES", 10_000)
    async with world() as w:
        ann = await Person(w, w.node(), "ann").entered()
        await said(ann, *["x" * 1000] * 5)
        assert w.store.blobs == {}
        await said(ann, *["x" * 1000] * 5)
        await checkpointed(w, 8)


@virtual
async def test_many_bytes_are_in_several_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_BYTES", 10_000)
    monkeypatch.setattr(module, "PAGE_BYTES", 4000)
    async with world() as w:
        ann = await Person(w, w.node(), "ann").entered()
        await said(ann, *["x" * 1000] * 9)
        await checkpointed(w, 9)
        snapshot = unpack_snapshot(w.store.blobs[SNAP])
        pages = [unpack_page(w.store.blobs[ROOM, page.key]) for page in snapshot.pages]
        assert [len(page) for page in pages] == [4, 4, 2]
        assert [entry for page in pages for entry in page] == w.entries()


@virtual
async def test_a_snapshot_does_not_take_the_word_of_a_handler_in_progress(
    every_block: None,
) -> None:
    """It may yet fail, and the room must be recovered as if it had never begun."""

    class Slow(ChatRoom):
        async def on_join(self, member: Member) -> None:
            self.state[member.user] = "in"
            if member.user != "ann":
                await asyncio.sleep(60)

        async def on_leave(self, member: Member, reason: str) -> None:
            await asyncio.sleep(60)

    for what in ("join", "leave", "move"):
        async with world() as w:
            node = w.node(Slow)
            ann = await Person(w, node, "ann").entered()
            await said(ann, "a", "b")
            node.log.may_write.clear()
            asked = ann.say("c")
            match what:
                case "join":
                    Person(w, node, "bob").enter()
                case "leave":
                    ann.leave()
                case _:
                    Person(w, node, "ann", attach="elsewhere").enter()
            await turns()
            node.log.may_write.set()
            await asked.answered()
            await checkpointed(w, 4)
            await node.crash()
            room = await recover(ROOM, node.log, node.archive)
            assert list(room.presence) == list(w.folded().presence), what
            assert room.state == w.folded().state, what


@virtual
async def test_a_stream_of_slow_joins_does_not_put_off_checkpoints(every_block: None) -> None:
    """Though some handler is in progress whenever a block is written."""

    class Slow(Room):
        async def on_join(self, member: Member) -> None:
            await asyncio.sleep(0.01)

    async with world() as w:
        node = w.node(Slow)
        asked = [Person(w, node, f"u{number}").enter() for number in range(30)]
        await asked[-1].answered()
        assert node.archive.saved.count("snap") >= 10


@virtual
async def test_old_pages_go_and_what_is_promised_stays(
    every_block: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "KEPT", 2)

    class Short(ChatRoom):
        history = 6

    async with world() as w:
        ann = await Person(w, w.node(Short), "ann").entered()
        for number in range(20):
            await said(ann, str(number))
            await turns(20)
        pages = sorted(int(key.split("-")[1]) for _, key in w.store.blobs if key != "snap")
        head, oldest = 21, ann.read(after=0).entries.oldest
        assert pages[0] == oldest
        assert head - 6 - 4 <= oldest <= head - 5


@virtual
async def test_a_page_that_cannot_be_discarded_now_does_not_stop_the_checkpoint(
    every_block: None, logged: list[EventDict]
) -> None:
    class Short(ChatRoom):
        history = 2

    async with world() as w:
        ann = await Person(w, w.node(Short), "ann").entered()

        async def unavailable(_room: str, _key: str) -> None:
            raise Unavailable("away")

        ann.node.archive.discard = unavailable  # type: ignore[assignment,method-assign]
        for number in range(6):
            await said(ann, str(number))
            await turns(20)
        await ann.leave().answered()
        await ann.node.host.close()
        assert unpack_snapshot(w.store.blobs[SNAP]).seq == 8
        assert ann.node.host.rooms == 0
        assert "room.page_not_discarded" in {one["event"] for one in logged}


@pytest.mark.parametrize("limit", ["blocks", "bytes"])
@virtual
async def test_writing_pauses_when_the_archive_falls_too_far_behind(
    monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """The log keeps only so many blocks, and memory what no page has."""
    monkeypatch.setattr(module, "CHECKPOINT_BLOCKS", 2 if limit == "blocks" else 10_000)
    monkeypatch.setattr(module, "CHECKPOINT_BYTES", 10_000_000 if limit == "blocks" else 1000)
    async with world() as w:
        node = w.node()
        ann = await Person(w, node, "ann").entered()
        node.archive.may_save.clear()
        asked = list[Asked]()
        for number in range(200):
            asked.append(ann.say(f"{number}" + "x" * 100))
            await turns()
        done = [one for one in asked if one.answer is not None]
        assert 10 <= len(done) <= 100
        node.archive.may_save.set()
        await until(lambda: all(one.answers for one in asked))
        await node.host.close()
        room = await recover(ROOM, node.log, node.archive)
        assert (room.seq, room.blocks) == (201, 0)


@virtual
async def test_a_page_of_an_owner_that_was_replaced_comes_late_and_spoils_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_BLOCKS", 5)
    async with world() as w:
        old = w.node()
        ann = await Person(w, old, "ann").entered()
        old.archive.may_save.clear()
        await said(ann, *"abcde")
        bob = await Person(w, w.node(term=2), "bob").entered()
        await said(bob, *"fghij")
        await checkpointed(w, 7)
        old.archive.may_save.set()
        await until(lambda: old.archive.saved)
        actor = bob.node.host._actors[ROOM]
        assert actor.journal.recent.pages[0].last > 6, "longer than the page that came late"
        again = await recover(ROOM, bob.node.log, bob.node.archive)
        for pages, rest in (
            (actor.journal.recent.pages, actor.journal.recent.unpaged(99)),
            (again.pages, again.entries),
        ):
            blobs = [w.store.blobs[ROOM, page.key] for page in pages]
            assert [*(one for blob in blobs for one in unpack_page(blob)), *rest] == w.entries()


@virtual
async def test_who_is_replaced_while_it_waits_to_write_its_last_snapshot_writes_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would come late, over the snapshot of whoever has the room now."""
    monkeypatch.setattr(module, "CHECKPOINT_BLOCKS", 5)
    async with world() as w:
        node = w.node()
        ann = await Person(w, node, "ann").entered()
        node.archive.may_save.clear()
        await said(ann, *"abcdefg")
        actor = node.host._actors[ROOM]
        closing = asyncio.create_task(actor.close())
        await turns()
        actor.drop()
        node.archive.may_save.set()
        await closing
        await turns()
        assert node.archive.saved == []
