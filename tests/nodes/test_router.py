"""Commands find the owner of their room, wherever it is by then; each is answered exactly once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from tests.support import hosting
from tests.support.hosting import ROOM, World
from tests.support.virtual_time import clock, turns, until, virtual

from roomful_nodes import router as module
from roomful_nodes.lane import Lane
from roomful_nodes.memory_bus import BusSwitch, MemoryBus
from roomful_nodes.metrics import Metrics
from roomful_nodes.router import ATTEMPT_S, SWEEP_S, Router
from roomful_protocol.errors import Code
from roomful_protocol.frames import NEW
from roomful_protocol.messages import (
    Accepted,
    Answer,
    Denied,
    Enter,
    Exit,
    Say,
    Sender,
    Welcome,
    Who,
)  # fmt: skip
from roomful_protocol.subjects import Subjects
from roomful_rooms.memory_link import Link

DEADLINE_S = 10.0
SUBJECTS = Subjects()


class Way:
    """A node: its host, and its router, which believes that `cluster.owner` owns every room."""

    def __init__(self, cluster: "Cluster", name: str) -> None:
        self.link = Link()
        self.host = cluster.world.node(name=name, term=None)
        self.metrics = Metrics(CollectorRegistry())
        self.router = Router(
            name, self.host.host, MemoryBus(cluster.switch, self.link), SUBJECTS,
            owner=lambda _room: cluster.owner, clock=clock(),
            metrics=self.metrics, deadline_s=DEADLINE_S,
        )  # fmt: skip

    def lane(self, user: str) -> Lane:
        sender = Sender(f"{user}-s", user, user.title(), self.host.name, f"{user}-attach")
        return self.router.lane(ROOM, sender)


class Cluster:
    """Two nodes, of which `owner` has all partitions; None: nobody has."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.switch = BusSwitch()
        self.owner: str | None = None
        self.ways: dict[str, Way] = {}
        self.terms = 0

    async def start(self) -> None:
        for name in ("n1", "n2"):
            self.ways[name] = Way(self, name)
            await self.ways[name].router.start()
        self.give("n2")

    def give(self, name: str | None) -> None:
        """All partitions go to a node, under a new term."""
        self.terms += 1
        self.owner = name
        for way in self.ways.values():
            if way.host.name == name:
                way.host.own(self.terms)
            else:
                way.host.host.assign({})


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    async with hosting.world() as world:
        made = Cluster(world)
        await made.start()
        yield made


async def answered(way: Lane, ask: Enter | Say | Exit | Who) -> Answer:
    answers: list[Answer] = []
    way.ask(ask, answers.append)
    await until(lambda: answers)
    await turns()
    assert len(answers) == 1
    return answers[0]


def say(text: str) -> Say:
    return Say("chat.message", text, None)


@virtual
async def test_a_command_reaches_its_room_here_and_on_another_node() -> None:
    async with cluster() as c:
        for owner in ("n1", "n2"):
            c.give(owner)
            ann = c.ways["n1"].lane(f"ann{owner}")
            assert isinstance(await answered(ann, Enter(NEW, None)), Welcome)
            assert isinstance(await answered(ann, say(owner)), Accepted)
        assert c.world.said() == ["n1", "n2"]


@virtual
async def test_while_nobody_owns_the_room_commands_wait() -> None:
    async with cluster() as c:
        c.give(None)
        ann = c.ways["n1"].lane("ann")
        answers: list[Answer] = []
        ann.ask(Enter(NEW, None), answers.append)
        await turns()
        assert answers == []
        c.give("n2")
        await until(lambda: answers, 1)
        assert isinstance(answers[0], Welcome)


@virtual
async def test_what_follows_over_a_later_lane_overtakes_nothing() -> None:
    async with cluster() as c:
        first = c.ways["n1"].lane("ann")
        await answered(first, Enter(NEW, None))
        c.give(None)
        told: list[str] = []

        def ask(lane: Lane, ask: Enter | Say | Exit, name: str) -> None:
            lane.ask(ask, lambda answer: told.append(f"{name} {type(answer).__name__}"))

        ask(first, say("one"), "say")
        ask(first, Exit("left"), "leave")
        # They are asked again ever less often: what comes later is asked sooner.
        await asyncio.sleep(1)
        for attach in ("second", "third"):
            first = first.then(replace(first.sender, attach=attach))
            ask(first, Enter(NEW, None), "join")
            ask(first, say(attach), "say")
            ask(first, Exit("left"), "leave")
        c.give("n2")
        await until(lambda: len(told) == 8, 5)
        again = ["join Welcome", "say Accepted", "leave Accepted"]
        assert told == ["say Accepted", "leave Accepted", *again, *again]
        assert c.world.said() == ["one", "second", "third"]
        assert first.idle


@virtual
async def test_a_later_lane_waits_no_longer_than_the_one_before() -> None:
    async with cluster() as c:
        c.give(None)
        first = c.ways["n1"].lane("ann")
        answers: list[Answer] = []
        first.ask(Exit("left"), answers.append)
        later = first.then(replace(first.sender, attach="later"))
        later.ask(Enter(NEW, None), answers.append)
        await until(lambda: answers, DEADLINE_S + 1)
        c.give("n2")
        await until(lambda: len(answers) == 2, 1)
        assert isinstance(answers[0], Denied)
        assert isinstance(answers[1], Welcome)


@virtual
async def test_what_no_owner_answers_in_time_is_unavailable_and_may_be_repeated() -> None:
    async with cluster() as c:
        c.give(None)
        asked = c.ways["n1"].lane("ann")
        started = clock().monotonic()
        answer = await answered(asked, Enter(NEW, None))
        assert isinstance(answer, Denied)
        assert answer.code == Code.UNAVAILABLE.slug
        assert DEADLINE_S <= clock().monotonic() - started < DEADLINE_S + 1


@virtual
async def test_what_was_given_up_holds_nothing_back_that_was_asked_later() -> None:
    async with cluster() as c:
        ann, answers = c.ways["n1"].lane("ann"), list[Answer]()
        assert isinstance(await answered(ann, Enter(NEW, None)), Welcome)
        c.give(None)
        ann.ask(say("too early"), answers.append)
        await asyncio.sleep(DEADLINE_S / 2)
        ann.ask(say("later"), answers.append)
        await until(lambda: answers, DEADLINE_S)
        c.give("n1")
        await until(lambda: len(answers) == 2, 1)
        assert [type(answer) for answer in answers] == [Denied, Accepted]
        assert c.world.said() == ["later"]


async def given_up(c: Cluster) -> tuple[Way, Lane, list[Answer]]:
    """A room of n1, somebody there who has asked it something, and the refusal of that: the log
    has not told the room for too long that it has the message."""
    c.give("n1")
    way = c.ways["n1"]
    ann, answers = way.lane("ann"), list[Answer]()
    assert isinstance(await answered(ann, Enter(NEW, None)), Welcome)
    way.host.log.may_tell.clear()
    ann.ask(say("slow"), answers.append)
    await until(lambda: answers, DEADLINE_S + 1)
    return way, ann, answers


@virtual
async def test_a_room_that_moves_when_the_deadline_has_passed_is_asked_no_more() -> None:
    async with cluster() as c:
        way, _, answers = await given_up(c)
        assert isinstance(answers[0], Denied)
        c.give("n2")
        await asyncio.sleep(1)
        assert len(answers) == 1
        assert way.metrics.commands_moved.count == 0
        assert not way.router.retries.lanes


@virtual
async def test_an_answer_after_the_deadline_is_not_a_second_one() -> None:
    async with cluster() as c:
        way, ann, answers = await given_up(c)
        way.host.log.may_tell.set()
        assert isinstance(await answered(ann, say("next")), Accepted)
        assert [type(answer) for answer in answers] == [Denied]
        assert c.world.said() == ["slow", "next"]
        assert way.metrics.commands_accepted.count == 2


@virtual
async def test_what_another_node_has_left_unanswered_is_asked_once_here() -> None:
    """Of our own room no answer is lost: to ask it again while it opens would say twice what has no
    number."""
    async with cluster() as c:
        here, there = c.ways["n1"], c.ways["n2"]
        ann, answers = here.lane("ann"), list[Answer]()
        assert isinstance(await answered(ann, Enter(NEW, None)), Welcome)
        there.host.log.may_tell.clear()
        ann.ask(say("once"), answers.append)
        ann.ask(Say("chat.typing", ephemeral=True), answers.append)
        await until(lambda: there.host.lives and c.world.said(), 1)
        here.link.cut()
        c.give("n1")
        here.host.log.may_write.clear()
        await turns()
        here.link.mend()
        await asyncio.sleep(ATTEMPT_S + 10 * SWEEP_S)
        assert not answers
        here.host.log.may_write.set()
        await until(lambda: len(answers) == 2, 1)
        assert all(isinstance(answer, Accepted) for answer in answers)
        assert len(here.host.lives) == 1


@virtual
async def test_commands_keep_their_order_and_take_effect_once_while_the_room_moves() -> None:
    async with cluster() as c:
        ann = c.ways["n1"].lane("ann")
        assert isinstance(await answered(ann, Enter(NEW, None)), Welcome)
        answers: list[Answer] = []
        texts = [f"m{number}" for number in range(40)]
        for number, text in enumerate(texts):
            ann.ask(say(text), answers.append)
            if number % 7 == 3:
                await turns(3)
            if number % 10 == 5:
                c.give("n1" if c.owner == "n2" else "n2")
        await until(lambda: len(answers) == len(texts))
        assert all(isinstance(answer, Accepted) for answer in answers)
        assert c.world.said() == texts


@pytest.mark.parametrize("asked_before", [0, 50, 100, 120])
@virtual
async def test_who_has_much_on_the_way_when_a_room_moves_goes_on_soon(asked_before: int) -> None:
    """All of it comes back, and what is said meanwhile comes before its turn."""
    async with cluster() as c:
        way = c.ways["n1"]
        way.router._reference += asked_before
        ann, answers = way.lane("ann"), list[Answer]()
        assert isinstance(await answered(ann, Enter(NEW, None)), Welcome)
        for _ in range(16):
            ann.ask(say("before"), answers.append)
        for owner, seconds in ((None, 0.03), ("n1", 0.02)):
            c.give(owner)
            way.router.look()
            for _ in range(10):
                ann.ask(say("meanwhile"), answers.append)
                await asyncio.sleep(seconds / 10)
        assert len(answers) == 36
        assert all(isinstance(answer, Accepted) for answer in answers)
        assert way.metrics.commands_moved.count <= 16 + 10


@virtual
async def test_an_answer_that_is_lost_is_asked_for_again_and_nothing_happens_twice() -> None:
    async with cluster() as c:
        ann = c.ways["n1"].lane("ann")
        assert isinstance(await answered(ann, Enter(NEW, None)), Welcome)
        answers: list[Answer] = []
        c.ways["n2"].host.log.may_tell.clear()
        ann.ask(say("once"), answers.append)
        await until(lambda: c.world.said() == ["once"], 1)
        c.ways["n1"].link.cut()
        c.ways["n2"].host.log.may_tell.set()
        await turns()
        c.ways["n1"].link.mend()
        await until(lambda: answers, 3 * ATTEMPT_S)
        assert isinstance(answers[0], Accepted)
        assert answers[0].duplicate
        assert c.world.said() == ["once"]


@virtual
async def test_who_waits_for_nothing_is_not_woken() -> None:
    async with cluster() as c:
        router = c.ways["n1"].router
        ann = c.ways["n1"].lane("ann")
        for _ in range(2):
            assert router._sweeping is None
            ann.ask(Who(), lambda _: None)
            assert router._sweeping is not None
            await asyncio.sleep(3 * SWEEP_S)


@virtual
async def test_an_owner_that_is_gone_is_found_out_by_the_bounce() -> None:
    async with cluster() as c:
        c.ways["n2"].link.cut()
        ann = c.ways["n1"].lane("ann")
        answers: list[Answer] = []
        ann.ask(Enter(NEW, None), answers.append)
        await turns()
        c.give("n1")
        await until(lambda: answers, ATTEMPT_S / 2)
        assert isinstance(answers[0], Welcome)


@virtual
async def test_who_waits_for_an_owner_asks_as_soon_as_there_is_one() -> None:
    async with cluster() as c:
        c.give(None)
        answers: list[Answer] = []
        c.ways["n1"].lane("ann").ask(Enter(NEW, None), answers.append)
        await asyncio.sleep(1)
        c.give("n1")
        c.ways["n1"].router.look()
        await until(lambda: answers, 0.02)
        assert isinstance(answers[0], Welcome)


@virtual
async def test_so_many_may_wait_and_no_more() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "OUTSTANDING", 3)
        async with cluster() as c:
            c.give(None)
            answers: list[Answer] = []
            lane = c.ways["n1"].lane("ann")
            for _ in range(4):
                lane.ask(Who(), answers.append)
            assert [one.code for one in answers if isinstance(one, Denied)] == ["busy"]
            await until(lambda: len(answers) == 4)


@virtual
async def test_an_answer_to_the_one_before_who_had_our_name_is_none_of_ours() -> None:
    async with cluster() as c:
        c.give(None)
        one = c.ways["n1"]
        for _ in range(5):
            one.lane("ann").ask(Who(), lambda _answer: None)
        await asyncio.sleep(0.01)
        other = Way(c, "n1")
        other.lane("bob").ask(Who(), lambda _answer: None)
        assert other.router.pending.keys().isdisjoint(one.router.pending)
