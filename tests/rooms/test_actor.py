"""The running room: transactions, the order of answers, waiting, refusing, ending."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from tests.support.hosting import Asked, Person, world
from tests.support.virtual_time import turns, until, virtual

from roomful_protocol.blocks import Member
from roomful_protocol.errors import Code, Refused
from roomful_protocol.frames import Since
from roomful_protocol.messages import MOVED, Accepted, Answer, Denied, Exit, Say
from roomful_rooms.actor import Limits
from roomful_rooms.draft import FULL_BYTES, TURN_BYTES
from roomful_rooms.room import Message, Room, on


class Workshop(Room):
    """Does what it is told, in every way that can go wrong."""

    capacity = 3
    gate: asyncio.Event

    @on("do.*")
    def refuse_all(self, message: Message) -> None:
        raise Refused(Code.FORBIDDEN, f"No {message.type}.")

    @on("do.say")
    def say(self, message: Message) -> None:
        self.relay(message)

    @on("do.count")
    def count(self, message: Message) -> None:
        self.state["count"] = self.state.get("count", 0) + 1
        self.reply(self.state["count"])

    @on("do.fail")
    def fail(self, message: Message) -> None:
        self._begin(message)
        raise RuntimeError("a bug")

    @on("do.unstorable")
    def unstorable(self, message: Message) -> None:
        self._begin(message)
        self.state["bad"] = object()

    @on("do.unshowable")
    def unshowable(self, message: Message) -> None:
        self._begin(message)
        self.broadcast("ok.first")
        self.broadcast("bad.second", float)

    @on("do.unanswerable")
    def unanswerable(self, message: Message) -> None:
        self._begin(message)
        self.reply(object())

    @on("do.too_much")
    def too_much(self, message: Message) -> None:
        self._begin(message)
        self.broadcast("big.thing", "x" * (TURN_BYTES + 1), ephemeral=message.data == "ephemeral")

    @on("do.refuse_badly")
    def refuse_badly(self, message: Message) -> None:
        raise Refused("forbidden", None)  # type: ignore[arg-type]

    @on("do.refuse_oddly")
    def refuse_oddly(self, message: Message) -> None:
        raise Refused(Code.FORBIDDEN, "odd \ud800 " + "x" * 5000)

    @on("do.slow")
    async def slow(self, message: Message) -> None:
        self._begin(message)
        await asyncio.sleep(message.data)
        self.relay(message)

    @on("do.slow_failure")
    async def slow_failure(self, message: Message) -> None:
        self._begin(message)
        await asyncio.sleep(message.data)
        raise RuntimeError("a late bug")

    @on("do.own_timeout")
    async def own_timeout(self, message: Message) -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(1)

    @on("do.cancelled_inside")
    async def cancelled_inside(self, message: Message) -> None:
        self._begin(message)
        inner = asyncio.get_running_loop().create_future()
        inner.cancel()
        await inner

    def _begin(self, message: Message) -> None:
        self.state["draft"] = message.data
        self.broadcast("begun.it", message.data)
        self.reply("begun")


DOES_NOT_HAPPEN = [
    "fail", "unstorable", "unshowable", "unanswerable", "too_much", "own_timeout",
    "cancelled_inside", "refuse_badly",
]  # fmt: skip


# -- transactions ----------------------------------------------------------------------------------


@virtual
async def test_what_a_handler_asks_for_is_in_one_block() -> None:
    async with world() as w:
        ann = await Person(w, w.node(Workshop), "ann").entered()
        asked = ann.say(1, "do.slow")
        await asked.answered()
        block = w.blocks()[-1]
        assert [frame["type"] for frame in w.frames()] == ["presence", "begun.it", "do.slow"]
        assert [entry.seq for entry in block.entries] == [2, 3]
        assert block.state == {"draft": 1}
        assert asked.accepted == Accepted(2, "begun")
        assert [done.n for done in block.done] == [2]


@pytest.mark.parametrize("what", DOES_NOT_HAPPEN)
@virtual
async def test_of_a_handler_that_fails_nothing_has_happened(what: str) -> None:
    async with world() as w:
        ann = await Person(w, w.node(Workshop), "ann").entered()
        bob = await Person(w, ann.node, "bob").entered()
        failed = ann.say("x", f"do.{what}")
        await failed.answered()
        assert failed.denied.code == Code.HANDLER_FAILED.slug
        # And the room goes on.
        assert await bob.say("still here", "do.say").answered() == Accepted(3)
        assert w.said() == ["still here"]
        assert w.folded().state == {}


@virtual
async def test_a_refusal_is_told_as_it_is_and_leaves_no_trace() -> None:
    async with world() as w:
        ann = await Person(w, w.node(Workshop), "ann").entered()
        assert await ann.say(1, "do.this").answered() == Denied("forbidden", "No do.this.")
        assert await ann.say(1, "unknown.type").answered() == Denied(
            "bad_type", "lobby does not take messages of type unknown.type."
        )
        assert w.said() == []


@virtual
async def test_a_refusal_that_cannot_be_stored_as_it_is_harms_nobody() -> None:
    async with world() as w:
        ann = await Person(w, w.node(Workshop), "ann").entered()
        odd, fine = ann.say(1, "do.refuse_oddly"), ann.say(2, "do.say")
        assert await fine.answered() == Accepted(2)
        assert odd.denied.message.startswith("odd ? xx")
        assert len(odd.denied.message) == 1000
        assert ann.again(odd).denied == odd.denied


@pytest.mark.parametrize("what", ["slow", "slow_failure"])
@virtual
async def test_a_handler_has_a_time_limit(what: str) -> None:
    async with world() as w:
        node = w.node(Workshop, limits=Limits(handler_s=2))
        ann = await Person(w, node, "ann").entered()
        late = ann.say(60, f"do.{what}")
        await late.answered(3)
        assert late.denied.code == Code.HANDLER_FAILED.slug
        assert "2 s" in late.denied.message
        assert w.folded().state == {}
        assert w.said() == []


@virtual
async def test_what_too_much_is_counts_ephemeral_events_too() -> None:
    async with world() as w:
        ann = await Person(w, w.node(Workshop), "ann").entered()
        await ann.say("ephemeral", "do.too_much").answered()
        assert w.said() == []
        assert ann.node.lives == []


@virtual
async def test_an_ephemeral_event_whose_hearer_fails_does_not_concern_the_room() -> None:
    async with world() as w:
        ann = await Person(w, w.node(), "ann").entered()

        def broken(_room: str, _live: object) -> None:
            raise ValueError("the bus takes no message of this size")

        ann.node.host._actors["lobby"]._live = broken
        assert await ann.say("hm", "chat.typing", ephemeral=True).answered() == Accepted()
        assert await ann.say("hi").answered() == Accepted(2)


# -- the constructor -------------------------------------------------------------------------------


@virtual
async def test_a_room_whose_constructor_raises_ends_and_its_askers_ask_elsewhere() -> None:
    class Broken(Room):
        def __init__(self, context: object) -> None:
            raise RuntimeError("a bug")

    async with world() as w:
        ann = Person(w, w.node(Broken), "ann")
        assert await ann.enter().answered() == MOVED
        assert ann.node.host.rooms == 0


@virtual
async def test_what_a_constructor_sets_is_durable_even_if_the_first_handler_fails() -> None:
    class Opened(Workshop):
        def __init__(self, context: object) -> None:
            super().__init__(context)  # type: ignore[arg-type]
            self.state.setdefault("opened", True)

    async with world() as w:
        ann = Person(w, w.node(Opened), "ann")
        assert isinstance(await ann.say(1, "do.fail").answered(), Denied)
        assert w.folded().state == {"opened": True}
        await ann.node.host.close()
        written = len(w.blocks())
        await Person(w, w.node(Opened, term=2), "bob").entered()
        assert [dict(block.state) for block in w.blocks()[written:]] == [{}, {}]


# -- answers and the log ---------------------------------------------------------------------------


@virtual
async def test_nothing_is_answered_or_read_before_it_is_in_the_log() -> None:
    async with world() as w:
        node = w.node(Workshop)
        ann = await Person(w, node, "ann").entered()
        node.log.may_write.clear()
        asked = [ann.say("hi", "do.say"), ann.say(1, "do.this"), ann.who(), ann.say(1, "do.count")]
        await turns(50)
        assert [one.answer for one in asked] == [None] * 4
        assert ann.read().entries.head == 1
        node.log.may_write.set()
        await asked[-1].answered()
        assert asked[0].accepted == Accepted(2)
        assert asked[2].listing.seq == 2
        assert asked[3].accepted == Accepted(None, 1)


@virtual
async def test_what_comes_while_an_append_is_in_flight_is_one_block() -> None:
    async with world() as w:
        node = w.node(Workshop)
        ann = await Person(w, node, "ann").entered()
        before = len(w.blocks())
        node.log.may_write.clear()
        asked = [ann.say(0, "do.say")]
        await turns()
        asked += [ann.say(number, "do.say") for number in range(1, 101)]
        await turns()
        node.log.may_write.set()
        await asked[-1].answered()
        assert [len(block.entries) for block in w.blocks()[before:]] == [1, 100]
        assert w.said() == list(range(101))
        assert [one.accepted.seq for one in asked] == list(range(2, 103))


@virtual
async def test_answers_come_in_the_order_of_the_questions() -> None:
    async with world() as w:
        node = w.node(Workshop)
        ann = await Person(w, node, "ann").entered()
        order: list[int] = []
        for number, type in enumerate(["do.say", "do.this", "do.slow", "do.count", "do.say"] * 4):
            then = _Then(partial(order.append, number))
            ann.ask(Say(type, 0.01), answers=then)
        await until(lambda: len(order) == 20)
        assert order == list(range(20))


@virtual
async def test_an_idle_room_handles_a_command_in_the_turn_of_its_arrival() -> None:
    async with world() as w:
        ann = await Person(w, w.node(Workshop), "ann").entered()
        assert ann.say(1, "do.this").denied.code == "forbidden"
        assert ann.who().listing.count == 1


@virtual
async def test_a_draft_that_is_full_makes_commands_wait() -> None:
    async with world() as w:
        node = w.node(Workshop, limits=Limits(mailbox=10_000))
        ann = await Person(w, node, "ann").entered()
        before = len(w.blocks())
        node.log.may_write.clear()
        text = "x" * 1000
        asked = [ann.say(text, "do.say") for _ in range(1000)]
        await turns()
        node.log.may_write.set()
        await asked[-1].answered()
        sizes = [sum(len(e.frame) for e in block.entries) for block in w.blocks()[before:]]
        assert max(sizes) < FULL_BYTES + 2000
        assert len(sizes) >= 4
        assert w.said() == [text] * 1000


@pytest.mark.parametrize("what", ["refused", "who", "repeated"])
@virtual
async def test_answers_without_effect_are_bounded_too_while_an_append_hangs(what: str) -> None:
    """However cheap they are, they must not pile up in memory for as long as the broker hangs."""
    async with world() as w:
        node = w.node(Workshop, limits=Limits(mailbox=100))
        ann = await Person(w, node, "ann").entered()
        node.log.may_write.clear()
        first = ann.say("hi", "do.say")
        ways: dict[str, Callable[[], Asked]] = {
            "refused": lambda: ann.say("no", "do.this"),
            "who": ann.who,
            "repeated": lambda: ann.again(first),
        }
        asked = [ways[what]() for _ in range(5000)]
        await turns()
        busy = [one for one in asked if one.answer is not None]
        assert len(busy) > 1000
        assert {one.denied.code for one in busy} == {"busy"}
        node.log.may_write.set()
        await asked[0].answered()


@virtual
async def test_replies_alone_do_not_gather_into_a_block_too_large_for_the_broker() -> None:
    class Library(Room):
        @on("*")
        def read(self, message: Message) -> None:
            self.reply("x" * 100_000)
            if message.type == "say.it":
                self.broadcast("said.it")

    async with world() as w:
        ann = await Person(w, w.node(Library), "ann").entered()
        for _ in range(20):
            await ann.say(None, "only.reply").answered()
        await ann.say(None, "say.it").answered()
        largest = max(len(record.data) for record in w.store.records["lobby"])
        assert largest < 300_000


# -- the mailbox -----------------------------------------------------------------------------------


@virtual
async def test_others_wait_while_an_async_handler_runs() -> None:
    async with world() as w:
        ann = await Person(w, w.node(Workshop), "ann").entered()
        slow, next = ann.say(0.5, "do.slow"), ann.say("after", "do.say")
        await asyncio.sleep(0.4)
        assert (slow.answer, next.answer) == (None, None)
        await next.answered()
        assert w.said() == [0.5, 0.5, "after"]


@virtual
async def test_a_full_mailbox_turns_commands_away() -> None:
    async with world() as w:
        node = w.node(Workshop, limits=Limits(mailbox=3))
        ann = await Person(w, node, "ann").entered()
        slow = ann.say(1, "do.slow")
        waiting = [ann.say(number, "do.say") for number in range(3)]
        refused = ann.say("one too many", "do.say")
        assert refused.denied.code == Code.BUSY.slug
        assert refused.denied.retry_after_ms
        await waiting[-1].answered()
        assert slow.accepted
        assert w.said() == [1, 1, 0, 1, 2]


@virtual
async def test_commands_wait_while_the_room_opens() -> None:
    async with world() as w:
        node = w.node(Workshop)
        node.log.may_write.clear()
        ann = Person(w, node, "ann")
        enter, said = ann.enter(), ann.say("hi", "do.say")
        await turns()
        assert said.answer is None
        node.log.may_write.set()
        await said.answered()
        assert enter.welcome.seq == 1 or enter.welcome.seq == 2


# -- askers that do things when they are answered --------------------------------------------------


class _Then(list[Answer]):
    """Does something when the answer comes."""

    def __init__(self, then: Callable[[], object]) -> None:
        super().__init__()
        self._then = then

    def append(self, answer: Answer) -> None:
        super().append(answer)
        self._then()


@pytest.mark.parametrize("busy", [False, True])
@virtual
async def test_an_answer_may_lead_to_the_next_question_at_once(busy: bool) -> None:
    """However long such a chain is, it goes round and not deeper, and nobody is overtaken."""
    async with world() as w:
        node = w.node(Workshop)
        ann = await Person(w, node, "ann").entered()
        order: list[str] = []

        def ask(name: str) -> None:
            ann.ask(Say("do.refused", name), answers=_Then(lambda: answered(name)))

        def answered(name: str) -> None:
            order.append(name)
            if len(order) < 3000:
                ask(name)

        # Both chains begin behind an append that is held up, or the first at once.
        node.log.may_write.clear()
        if busy:
            ann.say("hold the log", "do.say")
        ask("a")
        ask("b")
        node.log.may_write.set()
        await until(lambda: len(order) >= 3000)
        assert order[:6] == (["a", "b"] * 3 if busy else ["a"] * 6)


@virtual
async def test_an_asker_that_fails_does_not_keep_others_from_their_answers() -> None:
    async with world() as w:
        node = w.node(Workshop)
        ann = await Person(w, node, "ann").entered()
        node.log.may_write.clear()
        broken = _Then(lambda: 1 / 0)
        first = ann.say(0, "do.say")
        ann.ask(Say("do.say", 1), answers=broken)
        last = ann.say(2, "do.say")
        await turns()
        node.log.may_write.set()
        await last.answered()
        assert first.accepted == Accepted(2)
        assert broken == [Accepted(3)]
        assert w.said() == [0, 1, 2]
        assert await ann.say("on", "do.say").answered() == Accepted(5)


# -- joining and leaving ---------------------------------------------------------------------------


class Door(Room):
    """Lets people in and out slowly, or not at all, by their names."""

    async def on_join(self, member: Member) -> None:
        self.broadcast("hello.there", member.user)
        await asyncio.sleep(0.1)
        if member.user.startswith("bad"):
            raise Refused(Code.FORBIDDEN, "Not you.")
        self.state[member.user] = "in"

    async def on_leave(self, member: Member, reason: str) -> None:
        self.state[member.user] = "out"
        self.broadcast("good.bye", reason)
        match member.user:
            case "raiser":
                raise RuntimeError("a bug")
            case "refuser":
                raise Refused(Code.FORBIDDEN, "Stay!")
            case "sleeper":
                await asyncio.sleep(100)
            case "sender_of_nonsense":
                self.broadcast("bad.thing", float)
            case _:
                pass

    @on("chat.*")
    def said(self, message: Message) -> None:
        self.relay(message)


@virtual
async def test_who_is_turned_away_was_never_there() -> None:
    async with world() as w:
        node = w.node(Door)
        ann = await Person(w, node, "ann").entered()
        bad = Person(w, node, "bad")
        assert await bad.enter().answered() == Denied("forbidden", "Not you.")
        assert ann.who().listing.members == (ann.member,)
        assert isinstance(await bad.say("hi").answered(), Denied)
        assert w.said() == ["ann"]


@virtual
async def test_nobody_is_told_of_a_member_who_is_still_at_the_door() -> None:
    """Ann's welcome is made while Bad's fate is undecided, and so is the block of her join."""
    async with world() as w:
        node = w.node(Door)
        zoe = await Person(w, node, "zoe").entered()
        ann, bad = Person(w, node, "ann"), Person(w, node, "bad")
        node.log.may_write.clear()
        zoe.say("hold the log")
        entered = ann.enter()
        await asyncio.sleep(0.2)
        refused = bad.enter()
        await asyncio.sleep(0.05)
        assert node.host._actors["lobby"].members == 3
        node.log.may_write.set()
        await entered.answered(0.01)
        assert refused.answer is None
        assert entered.welcome.listed == (zoe.member, ann.member)
        assert entered.welcome.count == 2
        assert w.blocks()[-1].count == 2
        await refused.answered()


@pytest.mark.parametrize("user", ["raiser", "refuser", "sleeper", "sender_of_nonsense"])
@virtual
async def test_who_leaves_has_left_whatever_on_leave_does(user: str) -> None:
    """Or a member would stay for ever: nobody comes to say again that it has gone."""
    async with world() as w:
        node = w.node(Door, limits=Limits(handler_s=2))
        ann = await Person(w, node, "ann").entered()
        other = await Person(w, node, user).entered()
        assert isinstance(await other.leave().answered(), Accepted)
        assert ann.who().listing.members == (ann.member,)
        folded = w.folded()
        assert list(folded.presence) == [ann.member]
        # But of what the handler did, nothing has happened.
        assert folded.state == {"ann": "in", user: "in"}
        left = [f["data"]["left"] for f in w.frames() if f["type"] == "presence"][-1]
        assert [person["user"] for person in left] == [user]
        assert "good.bye" not in {frame["type"] for frame in w.frames()}


@virtual
async def test_a_room_takes_as_many_as_it_has_place_for() -> None:
    async with world() as w:
        node = w.node(Workshop)
        people = [await Person(w, node, name).entered() for name in ("a", "b", "c")]
        late = Person(w, node, "d")
        full = late.enter()
        assert full.denied.code == Code.ROOM_FULL.slug
        await people[0].leave().answered()
        # What was refused stays refused under its number; a new attempt is a new question.
        assert late.again(full).denied == full.denied
        await late.entered()
        assert len(late.who().listing.members) == 3


@virtual
async def test_a_session_that_moves_needs_no_place_and_nobody_hears_of_it() -> None:
    async with world() as w:
        node = w.node(Workshop)
        ann = await Person(w, node, "ann").entered()
        for name in ("b", "c"):
            await Person(w, node, name).entered()
        moved = Person(w, w.node(term=None), "ann", session=ann.sender.session).at(node)
        assert moved.sender.node == "n2"
        await moved.entered()
        assert [frame["seq"] for frame in w.frames()] == [1, 2, 3]
        assert next(iter(w.folded().presence)) == moved.member
        ghost = ann.say("boo", "do.say")
        assert ghost.denied.code == Code.NOT_JOINED.slug
        assert ann.leave().denied.code == Code.NOT_JOINED.slug
        assert await moved.say("hi", "do.say").answered() == Accepted(4)


@virtual
async def test_a_join_that_comes_late_does_not_bring_back_who_has_left() -> None:
    async with world() as w:
        ann = Person(w, w.node(Workshop), "ann")
        enter = ann.enter()
        await ann.leave().answered()
        assert enter.welcome
        late = ann.again(enter)
        await late.answered()
        assert late.denied.code == Code.NOT_JOINED.slug
        assert list(w.folded().presence) == []


@virtual
async def test_a_list_of_members_holds_at_its_seq_whoever_joins_after_it() -> None:
    async with world() as w:
        node = w.node(Workshop)
        ann, bob = Person(w, node, "ann"), Person(w, node, "bob")
        node.log.may_write.clear()
        ann.enter()
        who = ann.who()
        bob.enter()
        both = bob.who()
        node.log.may_write.set()
        await both.answered()
        joined = {
            frame["seq"]: [one["user"] for one in frame["data"]["joined"]] for frame in w.frames()
        }
        assert joined == {1: ["ann"], 2: ["bob"]}
        assert (who.listing.seq, who.listing.members) == (1, (ann.member,))
        assert (both.listing.seq, both.listing.count) == (2, 2)


@virtual
async def test_a_welcome_brings_what_was_missed() -> None:
    async with world() as w:
        node = w.node()
        ann = await Person(w, node, "ann").entered()
        for text in ("a", "b", "c"):
            await ann.say(text).answered()
        bob = Person(w, node, "bob")
        enter = bob.enter(Since(after=2), ann.who().listing.epoch)
        await enter.answered()
        welcome = enter.welcome
        assert (welcome.start, welcome.seq, welcome.recovered, welcome.gap) == (2, 5, True, None)
        assert welcome.entries is not None
        assert [entry.seq for entry in welcome.entries] == [3, 4, 5]


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
        assert len(w.blocks()) == written


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


@virtual
async def test_leaving_twice_is_refused_and_reasons_reach_the_author() -> None:
    async with world() as w:
        ann = await Person(w, w.node(Door), "ann").entered()
        await ann.ask(Exit("timeout")).answered()
        assert w.said()[-1] == "timeout"
        assert ann.leave().denied.code == Code.NOT_JOINED.slug
