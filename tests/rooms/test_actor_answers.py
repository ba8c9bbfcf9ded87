"""When commands are handled and answered: in order, after the log, within bounds."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from tests.support.hosting import Asked, Person, world
from tests.support.virtual_time import turns, until, virtual
from tests.support.workshop import Workshop

from roomful_protocol.errors import Code
from roomful_protocol.messages import Accepted, Answer, Say
from roomful_rooms.actor import Limits
from roomful_rooms.draft import FULL_BYTES
from roomful_rooms.room import Message, Room, on

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
async def test_nor_is_what_is_asked_in_the_same_turn_as_it_was_decided() -> None:
    """A list, and a repeat, which have nothing to write themselves."""
    async with world() as w:
        node = w.node(Workshop)
        ann = await Person(w, node, "ann").entered()
        ann.say(0.5, "do.slow")
        said = ann.say("hi", "do.say")
        asked = [said, ann.again(said), ann.who()]
        node.log.may_write.clear()
        await asyncio.sleep(1)
        assert node.host.rooms == 1
        assert [one.answer for one in asked] == [None] * 3
        node.log.may_write.set()
        await asked[-1].answered()
        assert (said.accepted.seq, asked[1].accepted.seq, asked[2].listing.seq) == (4, 4, 4)


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
        assert ann.read().entries.head == 1, "the past waits for nobody"
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
