"""A room out of its log: from any snapshot, past holes, and after crashes at any point."""

from typing import Any

import pytest
from msgspec.structs import replace
from structlog.typing import EventDict
from tests.support.hosting import ROOM, Person, world
from tests.support.virtual_time import virtual

from roomful_protocol.blocks import Block, Done, Entered, Entry, Exited, Member, Page, Snapshot
from roomful_protocol.codecs.stored import pack_block, snapshot_pieces
from roomful_protocol.messages import Accepted, Moved
from roomful_rooms.log import Record
from roomful_rooms.memory_log import LogStore, MemoryArchive, MemoryLog
from roomful_rooms.recovery import Recovered, recover

ANN = Member("s1", "ann", "Ann", "n1", "a1")
BOB = Member("s2", "bob", "Bob", "n1", "a2")


def block(first: int, texts: str = "", *, term: int = 1, epoch: str = "e1", **rest: Any) -> Block:
    """One entry for each letter."""
    entries = tuple(Entry(first + i, text.encode()) for i, text in enumerate(texts))
    return Block(term, "w", first, epoch, first, 0, 0, entries, **rest)


def written(store: LogStore, *blocks: Block) -> list[int]:
    """Append `blocks`; their positions."""
    positions = list[int]()
    for one in blocks:
        records = store.records[ROOM]
        after = records[-1].position if records else 0
        positions.append(store.append(ROOM, pack_block(one), after))
    return positions


def snapshot(position: int, seq: int, **rest: Any) -> Snapshot:
    fields: dict[str, Any] = {"pages": (), "members": (), "state": {}, "done": ()}
    return Snapshot(position, "e1", seq, 0, **(fields | rest))


def saved(store: LogStore, one: Snapshot) -> None:
    store.blobs[ROOM, "snap"] = b"".join(snapshot_pieces(one))


async def recovered(store: LogStore) -> Recovered:
    return await recover(ROOM, MemoryLog(store), MemoryArchive(store))


# -- single cases ----------------------------------------------------------------------------------


@virtual
async def test_a_room_that_never_was() -> None:
    room = await recovered(LogStore())
    assert (room.position, room.term, room.seq, room.epoch, room.whole) == (0, 0, 0, None, True)


@virtual
async def test_blocks_are_folded_in_order() -> None:
    store = LogStore()
    done = Done("s1", "a1", 1, "ann", "id", 2)
    joins, leaves = (Entered(ANN), Entered(BOB)), (Exited("s2", "left"),)
    positions = written(
        store,
        block(1),
        block(1, "a", members=joins, state={"x": [1], "y": 1}),
        block(2, "bc", members=leaves, state={"x": [2]}, removed=("y",), done=(done,)),
        block(4, term=3),
    )
    room = await recovered(store)
    assert (room.position, room.term, room.epoch, room.seq) == (positions[-1], 3, "e1", 3)
    assert room.blocks == 4
    assert room.whole
    assert list(room.presence) == [ANN]
    assert room.state == {"x": [2]}
    assert list(room.ledger) == [replace(done, n=0), replace(done, id=None)]
    assert [entry.frame for entry in room.entries] == [b"a", b"b", b"c"]


@virtual
async def test_a_snapshot_stands_for_the_blocks_before_it() -> None:
    store = LogStore()
    positions = written(store, block(1, "ab"), block(3, "c", members=(Entered(BOB),)))
    done = Done("s1", "a1", 7, "ann", None, 2)
    saved(store, snapshot(
        positions[0], 2, members=(ANN,), state={"x": 1}, pages=(Page(1, 2),), done=(done,)
    ))  # fmt: skip
    room = await recovered(store)
    assert (room.seq, room.blocks, room.pages) == (3, 1, (Page(1, 2),))
    assert list(room.presence) == [ANN, BOB]
    assert room.state == {"x": 1}
    assert [entry.seq for entry in room.entries] == [3]
    link = room.ledger.link("s1", "a1")
    assert link is not None
    assert link.last == 7
    room.ledger.attach("s1", "a9")
    assert room.ledger.superseded("s1", "a1")


@virtual
async def test_members_of_a_snapshot_are_ghosts_where_they_move_from() -> None:
    """Though none of their decisions is remembered."""
    store = LogStore()
    (position,) = written(store, block(1, "a"))
    saved(store, snapshot(position, 1, members=(ANN,)))
    ledger = (await recovered(store)).ledger
    ledger.attach("s1", "a9")
    assert ledger.superseded("s1", "a1")


@virtual
async def test_who_wrote_last_is_known_even_if_the_snapshot_has_it_all() -> None:
    """Or a node with an older term would not see that it is late."""
    store = LogStore()
    (position,) = written(store, block(1, "a", term=5))
    saved(store, snapshot(position, 1))
    room = await recovered(store)
    assert (room.term, room.whole) == (5, True)


@virtual
async def test_a_long_log_is_read_in_chunks() -> None:
    store = LogStore()
    written(store, *[block(seq, "x") for seq in range(1, 601)])
    room = await recovered(store)
    assert (room.seq, room.blocks, len(room.entries)) == (600, 600, 600)


@virtual
async def test_a_hole_is_noticed_and_history_begins_after_it(logged: list[EventDict]) -> None:
    store = LogStore()
    (position, *_) = written(store, block(1, "ab"), block(5, "e"), block(6, "f"))
    saved(store, snapshot(position, 2, pages=(Page(1, 2),), state={"x": 1}))
    room = await recovered(store)
    assert not room.whole
    assert room.seq == 6
    assert [entry.seq for entry in room.entries] == [5, 6]
    assert room.pages == ()
    assert room.state == {"x": 1}
    assert [one["event"] for one in logged] == ["room.log_hole"]


@pytest.mark.parametrize("left", [0, 1])
@virtual
async def test_a_snapshot_may_know_more_than_a_log_that_lost_its_end(left: int) -> None:
    store = LogStore()
    positions = written(store, block(1, "ab"), block(3, "cd"))
    saved(store, snapshot(positions[1], 4, pages=(Page(1, 4),), members=(ANN,)))
    while len(store.records[ROOM]) > left:
        store.records[ROOM].pop()
    room = await recovered(store)
    assert not room.whole
    assert room.position == (positions[0] if left else 0)
    assert (room.seq, room.pages, list(room.presence)) == (4, (Page(1, 4),), [ANN])


@virtual
async def test_a_read_that_lags_is_repeated() -> None:
    class Lagging(MemoryLog):
        reads = 0

        async def read(self, room: str, after: int, limit: int) -> list[Record]:
            self.reads += 1
            found = await super().read(room, after, limit)
            return found if self.reads > 3 else [one for one in found if one.position < 3]

    store = LogStore()
    written(store, block(1, "a"), block(2, "b"), block(3, "c"))
    room = await recover(ROOM, Lagging(store), MemoryArchive(store))
    assert (room.seq, room.whole) == (3, True)


@virtual
async def test_what_is_no_record_is_not_taken_for_one() -> None:
    store = LogStore()
    store.append(ROOM, b"nonsense", 0)
    with pytest.raises(ValueError, match="extra data"):
        await recovered(store)


# -- what opens after a loss -----------------------------------------------------------------------


@virtual
async def test_after_a_hole_the_room_goes_on_as_another_history_once() -> None:
    async with world() as w:
        ann = await Person(w, w.node(), "ann").entered()
        for text in "abcd":
            await ann.say(text).answered()
        old = ann.who().listing.epoch
        await ann.node.crash()
        del w.store.records[ROOM][3]
        epochs = list[str]()
        for term in (2, 3, 4):
            node = w.node(term=term)
            epochs.append((await Person(w, node, "bob").who().answered()).epoch)  # type: ignore[union-attr]
            await node.crash()
        assert epochs[0] != old
        assert epochs == epochs[:1] * 3


@virtual
async def test_a_log_that_lost_its_end_takes_new_messages_and_keeps_them() -> None:
    """Though the snapshot is of a position that the log has yet to reach again."""
    async with world() as w:
        ann = await Person(w, w.node(), "ann").entered()
        for text in "abcd":
            await ann.say(text).answered()
        await ann.node.host.close()
        for _ in range(4):
            w.store.records[ROOM].pop()
        bob = await Person(w, w.node(term=2), "bob").entered()
        said = await bob.say("e").answered()
        assert isinstance(said, Accepted)
        await bob.node.crash()
        cat = await Person(w, w.node(term=3), "cat").entered()
        listing = cat.who().listing
        assert [member.user for member in listing.members] == ["ann", "bob", "cat"]
        read = cat.read(after=(said.seq or 0) - 1, limit=1)
        assert [entry.seq for entry in read.entries.entries] == [said.seq]


@virtual
async def test_a_node_with_an_older_term_does_not_open_a_room_at_rest() -> None:
    async with world() as w:
        ann = await Person(w, w.node(term=5), "ann").entered()
        await ann.leave().answered()
        await ann.node.host.close()
        written = len(w.blocks())
        late = Person(w, w.node(term=4), "bob")
        assert isinstance(await late.enter().answered(), Moved)
        assert len(w.blocks()) == written
