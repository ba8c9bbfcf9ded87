"""Random histories with crashes at random points: the room is what its log says."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.hosting import ROOM, Asked, Node, Person, World, world
from tests.support.virtual_time import turns, until, virtual

from roomful_protocol.blocks import Member
from roomful_protocol.codecs.stored import unpack_page, unpack_snapshot
from roomful_protocol.ids import partition_of
from roomful_protocol.messages import Accepted, Denied, Entries, Listing, Moved, Read
from roomful_rooms import checkpoints as checkpoints_module
from roomful_rooms import recent as recent_module
from roomful_rooms.memory_log import MemoryArchive, MemoryLog
from roomful_rooms.recovery import Recovered, recover
from roomful_rooms.room import Message, Room, on

ANN = Member("s1", "ann", "Ann", "n1", "a1")
BOB = Member("s2", "bob", "Bob", "n1", "a2")


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
        self.node = self.w.node(Diary, term=None)
        self.node.own(len(self.w.nodes), [partition_of(ROOM)])
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
    # Who was just leaving when a snapshot was made stands last in it: their order is not kept.
    return room.seq, {member.session: member for member in room.presence}, dict(room.state)


def decided(w: World, room: Recovered) -> set[tuple[Any, ...]]:
    """What the room has decided of all that may still be asked for."""
    base: dict[str, int] = {}
    for asked in w.asked:
        attach = asked.command.sender.attach
        base[attach] = max(base.get(attach, 0), asked.command.base)
    return {
        (one.attach, one.n, one.seq, one.denied)
        for one in room.ledger
        if one.n >= base.get(one.attach, 0)
    }


async def check_recovery(w: World) -> Recovered:
    """From a snapshot the room is the same as from its whole log."""
    fresh, from_log = await recover(ROOM, MemoryLog(w.store), MemoryArchive(w.store)), w.folded()
    assert kept(fresh) == kept(from_log)
    assert fresh.whole
    # A few decisions that had no effect may be known besides.
    assert decided(w, fresh) >= decided(w, from_log)
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
        patch.setattr(checkpoints_module, "CHECKPOINT_BLOCKS", checkpoint_blocks)
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
    for _, asked in history.asked:
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
    assert decided(w, live.held) >= decided(w, fresh)
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
            entries = unpack_page(w.store.blobs[ROOM, page.key])
            assert (entries[0].seq, entries[-1].seq) == (page.first, page.last)
            assert snapshot is not None
            seqs += [entry.seq for entry in entries if entry.seq > after]
        found += seqs
        if not answer.more:
            break
        after = seqs[-1]
    assert found == list(range(oldest, len(w.frames()) + 1))
    assert len(found) >= min(Diary.history, len(w.frames()))
