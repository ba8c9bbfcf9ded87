"""A room out of its log: from any snapshot, past holes, and after crashes at any point."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.typing import EventDict
from tests.support.hosting import ROOM, Asked, Node, Person, World, world
from tests.support.virtual_time import turns, until, virtual

from roomful_protocol.blocks import Block, Done, Entered, Entry, Exited, Member, Page, Snapshot
from roomful_protocol.codecs.stored import pack_block, pack_snapshot, unpack_page, unpack_snapshot
from roomful_protocol.messages import Accepted, Denied, Entries, Listing, Moved, Read
from roomful_rooms import journal as journal_module
from roomful_rooms import recent as recent_module
from roomful_rooms.log import Record
from roomful_rooms.memory_log import LogStore, MemoryArchive, MemoryLog
from roomful_rooms.recovery import Recovered, recover
from roomful_rooms.room import Message, Room, on

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
    store.blobs[ROOM, "snap"] = pack_snapshot(one)


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
    positions = written(
        store,
        block(1),
        block(1, "a", members=(Entered(ANN), Entered(BOB)), state={"x": [1], "y": 1}),
        block(2, "bc", members=(Exited("s2", "left"),), state={"x": [2]}, removed=("y",), done=(done,)),
        block(4, term=3),
    )  # fmt: skip
    room = await recovered(store)
    assert (room.position, room.term, room.epoch, room.seq) == (positions[-1], 3, "e1", 3)
    assert room.blocks == 4
    assert room.whole
    assert list(room.presence) == [ANN]
    assert room.state == {"x": [2]}
    assert list(room.ledger) == [done]
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


# -- random histories ------------------------------------------------------------------------------


class Diary(Room):
    """Keeps state in every shape, slowly and at once."""

    history = 10

    def on_join(self, member: Member) -> None:
        self.state[f"in {member.user}"] = self.state.get(f"in {member.user}", 0) + 1

    async def on_leave(self, member: Member, reason: str) -> None:
        await asyncio.sleep(0.01)
        self.state.pop(f"in {member.user}", None)

    @on("diary.*")
    def write(self, message: Message) -> None:
        self.state.setdefault("pages", []).append(message.data)
        del self.state["pages"][:-3]
        self.relay(message)

    @on("diary.slowly")
    async def slowly(self, message: Message) -> None:
        self.state["slow"] = message.data
        await asyncio.sleep(0.01)
        self.write(message)

    @on("diary.not")
    def fail(self, message: Message) -> None:
        self.write(message)
        raise ValueError("a bug")


users = st.sampled_from(["ann", "bob", "cat"])
asks = st.tuples(st.sampled_from(["enter", "leave", "say", "say", "slowly", "not"]), users)
times = st.tuples(st.just("turns"), st.integers(0, 12)) | st.tuples(
    st.just("pass"), st.sampled_from([0.005, 0.02])
)
holds = st.tuples(st.just("hold"), st.sampled_from(["write", "tell", "save"]))
troubles = st.tuples(st.sampled_from(["crash", "close", "rival"]), st.none()) | st.tuples(
    st.just("squeeze"), st.integers(0, 25)
)
let_go = st.tuples(st.just("let go"), st.sampled_from(["write", "tell", "save"]))
step = asks | asks | asks | times | times | holds | let_go | troubles


class History:
    """Plays steps over one host after another, each asker retrying where it was not answered."""

    def __init__(self, w: World) -> None:
        self.w = w
        self.people: dict[str, Person] = {}
        self.asked: list[tuple[Person, Asked]] = []
        self.node = self.next_node()
        for user in ("ann", "bob"):
            self.ask("enter", user)

    def next_node(self) -> Node:
        self.node = self.w.node(Diary, term=len(self.w.nodes) + 1)
        for person in self.people.values():
            person.at(self.node)
        return self.node

    async def play(self, step: str, what: Any) -> None:
        node = self.node
        match step:
            case "turns":
                await turns(what)
            case "pass":
                await asyncio.sleep(what)
            case "hold":
                {"write": node.log.may_write, "tell": node.log.may_tell,
                 "save": node.archive.may_save}[what].clear()  # fmt: skip
            case "let go":
                self.let_go(node)
            case "crash":
                await node.crash()
                self.next_node()
            case "squeeze":
                await self.squeeze(node, what)
            case "close":
                self.let_go(node)
                await node.host.close()
                self.next_node()
            case "rival":
                # The old one goes on for now, and finds out at the log.
                await Person(self.w, self.next_node(), "rival").who().answered()
                self.let_go(node)
                await check_recovery(self.w)
            case _:
                self.ask(step, what)

    async def squeeze(self, node: Node, count: int) -> None:
        """Crash so many turns after a block was told, while the next one may not be written."""
        self.let_go(node)
        for user in ("ann", "bob"):
            self.ask("enter", user)
        await Person(self.w, node, "reader").who().answered()
        node.gates["tell"].clear()
        self.ask("say", "ann")
        await turns()
        for step, user in (("say", "bob"), ("leave", "bob")):
            self.ask(step, user)
        await turns()
        node.gates["write"].clear()
        node.gates["tell"].set()
        await turns(count)
        await self.play("crash", None)

    def let_go(self, node: Node) -> None:
        for gate in node.gates.values():
            gate.set()

    def ask(self, step: str, user: str) -> None:
        if user not in self.people:
            self.people[user] = Person(self.w, self.node, user, session=user, attach=f"{user}-1")
        person = self.people[user]
        match step:
            case "enter":
                asked = person.enter()
            case "leave":
                asked = person.leave()
            case _:
                asked = person.say(f"{user} {person.last + 1}", f"diary.{step}")
        self.asked.append((person, asked))

    async def settle(self) -> None:
        """Everybody asks again until there is an answer."""
        self.let_go(self.node)
        for person, asked in self.asked:
            again = asked
            while isinstance(await again.answered(), Moved):
                person.node = self.node
                await asyncio.sleep(0.06)
                again = person.again(asked)
            asked.answers[:] = again.answers


def kept(room: Recovered) -> tuple[Any, ...]:
    """What must be the same, however a room came back."""
    return room.seq, list(room.presence), dict(room.state)


def decided(room: Recovered) -> set[tuple[Any, ...]]:
    return {(one.attach, one.n, one.seq, one.denied) for one in room.ledger}


async def check_recovery(w: World) -> Recovered:
    """From a snapshot the room is the same as from its whole log."""
    fresh, from_log = await recovered(w.store), w.folded()
    assert kept(fresh) == kept(from_log)
    assert fresh.whole
    # A few decisions that had no effect may be known besides.
    assert decided(fresh) >= decided(from_log)
    return fresh


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
)
@given(
    st.integers(15, 60).flatmap(lambda size: st.lists(step, min_size=size, max_size=size)),
    st.sampled_from([1, 2, 4]),
)
@virtual
async def test_whatever_happens_the_room_is_what_its_log_says(
    all_steps: list[Any], checkpoint_blocks: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal_module, "CHECKPOINT_BLOCKS", checkpoint_blocks)
        patch.setattr(recent_module, "KEPT", 4)
        async with world() as w:
            history = History(w)
            for step, what in all_steps:
                await history.play(step, what)
            await history.settle()
            check_answers(w, history)
            await check_room(w, history.node)


def check_answers(w: World, history: History) -> None:
    """Each message that was accepted is in the log once, in the order of its sender."""
    said = w.said()
    assert len(set(said)) == len(said)
    for person, asked in history.asked:
        ask = asked.command.ask
        text = getattr(ask, "data", None)
        if isinstance(asked.answer, Denied):
            assert text is None or text not in said
        elif isinstance(asked.answer, Accepted) and text is not None:
            seq = asked.answer.seq
            assert seq is not None, asked
            assert w.frames()[seq - 1]["data"] == text
    for user in history.people:
        own = [int(text.split()[1]) for text in said if text.startswith(f"{user} ")]
        assert own == sorted(own)


async def check_room(w: World, node: Node) -> None:
    """The live room, the one that a crash would leave, and the fold of the whole log are one."""
    reader = Person(w, node, "reader")
    listing = await reader.who().answered()
    live = node.host._actors[ROOM].journal
    await until(lambda: live.idle)
    fresh = await check_recovery(w)
    assert isinstance(listing, Listing)
    assert (listing.epoch, listing.seq) == (fresh.epoch, fresh.seq)
    assert (live.recent.head, *kept(live.held)[1:]) == kept(fresh)
    assert decided(live.held) >= decided(fresh)
    check_pages(w, reader)


def check_pages(w: World, reader: Person) -> None:
    """All that is promised can be read, from memory or from the pages that are named."""
    blob = w.store.blobs.get((ROOM, "snap"))
    snapshot = None if blob is None else unpack_snapshot(blob)
    oldest = reader.read(after=0).entries.oldest
    after, found = oldest - 1, list[int]()
    while True:
        answer: Entries = reader.ask(Read(after=after), 0).entries
        seqs = [entry.seq for entry in answer.entries]
        for page in answer.pages:
            entries = unpack_page(w.store.blobs[ROOM, f"page-{page.first}"])
            assert (entries[0].seq, entries[-1].seq) == (page.first, page.last)
            assert snapshot is not None
            seqs += [entry.seq for entry in entries if entry.seq > after]
        found += seqs
        if not answer.more:
            break
        after = seqs[-1]
    assert found == list(range(oldest, len(w.frames()) + 1))
    assert len(found) >= min(Diary.history, len(w.frames()))
