"""A host wakes the rooms that have members, starts again what fails, and not too often."""

import asyncio
from itertools import pairwise

import pytest
from structlog.testing import capture_logs
from tests.support.hosting import ROOM, Node, Person, World, world
from tests.support.virtual_time import clock, until, virtual

from roomful_protocol.blocks import Block, Member
from roomful_protocol.codecs.stored import pack_block
from roomful_protocol.frames import NEW
from roomful_protocol.ids import partition_of
from roomful_protocol.messages import Accepted, Denied, Enter, Moved
from roomful_rooms import host as module
from roomful_rooms.actor import Limits
from roomful_rooms.host import RESTART_S
from roomful_rooms.room import ChatRoom, Context, Message, on
from roomful_rooms.waking import AGAIN_S


async def left_behind(w: World, *rooms: str) -> None:
    """A node that crashes, with a member in each of `rooms`, and one room that is empty."""
    node = w.node()
    for room in rooms:
        await Person(w, node, "ann", room=room).entered()
    bob = await Person(w, node, "bob", room="empty").entered()
    await bob.leave().answered()
    await node.crash()


def running(node: Node) -> set[str]:
    return set(node.host._actors)


@virtual
async def test_rooms_with_members_are_woken_and_no_others() -> None:
    async with world() as w:
        await left_behind(w, "lobby", "den")
        node = w.node(term=2)
        await until(lambda: running(node) == {"lobby", "den"}, 1)
        assert [block.term for block in w.blocks("den")][-1] == 2, "and fence who wrote before"
        await asyncio.sleep(5)
        assert running(node) == {"lobby", "den"}


@virtual
async def test_rooms_are_woken_when_the_broker_answers_again() -> None:
    async with world() as w:
        await left_behind(w, "lobby")
        node = w.node(term=None)
        node.link.cut()
        node.own(2)
        await asyncio.sleep(20)
        assert running(node) == set()
        node.link.mend()
        await until(lambda: running(node) == {"lobby"}, 2 * AGAIN_S + RESTART_S[1])


@virtual
async def test_nothing_is_woken_that_has_gone_elsewhere_meanwhile() -> None:
    async with world() as w:
        await left_behind(w, "lobby")
        node = w.node(term=None)
        node.link.cut()
        node.own(2)
        await asyncio.sleep(1)
        node.host.assign({})
        node.link.mend()
        await asyncio.sleep(10)
        assert running(node) == set()
        assert [block.term for block in w.blocks("lobby")][-1] == 1


@virtual
async def test_a_room_that_cannot_be_read_is_tried_ever_less_often_and_others_are_not() -> None:
    async with world() as w:
        await left_behind(w, "lobby")
        broken = next(f"r{n}" for n in range(99) if partition_of(f"r{n}") != partition_of(ROOM))
        w.store.append(broken, b"no block", 0)
        node = w.node(term=2)
        with capture_logs() as logs:
            for _ in range(200):
                asked = Person(w, node, "bob", room=broken).who()
                assert isinstance(await asked.answered(), Moved)
                await asyncio.sleep(0.1)
        tries = sum(entry["event"] == "room.crashed" for entry in logs)
        assert 5 <= tries <= 12, "after 0.05, 0.1, 0.2 ... 5 seconds"
        cat = await Person(w, node, "cat").entered()
        assert isinstance(await cat.say("hello").answered(), Accepted)


@virtual
async def test_a_room_that_the_broker_does_not_give_is_no_crash() -> None:
    async with world() as w:
        await left_behind(w, "lobby")
        node = w.node(term=2)
        node.link.cut()
        with capture_logs() as logs:
            assert isinstance(await Person(w, node, "bob").who().answered(), Moved)
        told = [(entry["event"], entry["log_level"]) for entry in logs]
        assert ("room.unavailable", "warning") in told
        assert not [event for event, level in told if level == "error"]
        node.link.mend()


@virtual
async def test_a_room_that_has_not_failed_for_a_while_has_a_clean_slate() -> None:
    async with world() as w:
        node = w.node()
        failed: list[float] = []
        for _ in range(3):
            await Person(w, node, "ann").enter().answered()
            last, newest = w.blocks()[-1], w.store.records[ROOM][-1].position
            fencing = Block(1, "x.rival", 1, last.epoch, last.last + 1, last.ts, last.count)
            w.store.append(ROOM, pack_block(fencing), newest)
            asked = Person(w, node, "bob").enter()
            assert isinstance(await asked.answered(), Moved)
            failed.append(node.host._failures[ROOM][0])
            await asyncio.sleep(4 * RESTART_S[1])
        assert failed == [RESTART_S[0]] * 3


@virtual
async def test_a_room_with_members_that_was_fenced_comes_back_by_itself() -> None:
    async with world() as w:
        node = w.node()
        ann = await Person(w, node, "ann").entered()
        other = w.node()
        await Person(w, other, "bob").entered()
        ann.say("into the void")
        await until(lambda: node.host._failures, 5)
        other.host.assign({})
        await until(lambda: w.blocks()[-1].node == node.name, 5)
        assert running(node) == {ROOM}


class Unborn(ChatRoom):
    """An author's mistake: it cannot be made."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        raise RuntimeError("not today")


@virtual
async def test_a_room_with_members_that_cannot_be_made_is_roused_by_one_task() -> None:
    async with world() as w:
        await left_behind(w, "lobby")
        node = w.node(Unborn, term=2)
        with capture_logs() as logs:
            await asyncio.sleep(60)
        assert sum(entry["event"] == "room.crashed" for entry in logs) > 10
        rousing = [task for task in node.tasks._running if "wake" in task.get_name()]
        assert len(rousing) == 1
        assert not [task for task in node.tasks._running if "rouse" in task.get_name()]


@virtual
async def test_past_its_lease_a_host_serves_nobody_and_then_again() -> None:
    async with world() as w:
        node = w.node(ChatRoom)
        ann = await Person(w, node, "ann").entered()
        node.host.serve_until(clock().monotonic() + 1)
        assert isinstance(await ann.say("in time").answered(), Accepted)
        await asyncio.sleep(1)
        late = ann.say("late")
        assert isinstance(await late.answered(), Moved)
        node.host.serve_until(0)
        assert node.doubts == [True]
        node.host.serve_until(clock().monotonic() + 1)
        assert node.doubts == [True, False]
        assert isinstance(await ann.again(late).answered(), Accepted)
        assert w.said() == ["in time", "late"]


@virtual
async def test_what_is_released_has_finished_and_left_a_snapshot() -> None:
    async with world() as w:
        node = w.node()
        ann = await Person(w, node, "ann").entered()
        said = ann.say("last words")
        await node.host.release(partition_of(ROOM))
        assert isinstance(said.answer, Accepted)
        assert running(node) == set()
        assert node.left == [ROOM]
        assert node.archive.saved[-1] == "snap"
        assert isinstance(await ann.say("too late").answered(), Moved)


@virtual
async def test_who_has_left_is_forgotten_when_nobody_can_ask_for_it_any_more() -> None:
    """And not before: a join that comes once more must not begin anew."""
    async with world() as w:
        node = w.node()
        node.tasks.start(node.host.tend(lambda: [("n1", "")]), "tend")
        ann, bob = await Person(w, node, "ann").entered(), await Person(w, node, "bob").entered()
        ledger = node.host._actors[ROOM].journal.held.ledger
        await bob.leave().answered()
        late = bob.ask(Enter(NEW, None), n=1, base=1)
        assert isinstance(await late.answered(), Denied)
        await asyncio.sleep(29)
        late = bob.ask(Enter(NEW, None), n=1, base=1)
        assert isinstance(await late.answered(), Denied)
        await asyncio.sleep(32)
        assert ledger.link(bob.sender.session, bob.sender.attach) is None
        assert ledger.link(ann.sender.session, ann.sender.attach) is not None, "it is still here"


@virtual
async def test_nobody_is_forgotten_whose_leaving_may_yet_fail() -> None:
    class Held(ChatRoom):
        async def on_leave(self, member: Member, reason: str) -> None:
            await asyncio.sleep(90)

    async with world() as w:
        node = w.node(Held, limits=Limits(handler_s=100))
        node.tasks.start(node.host.tend(lambda: [("n1", "")]), "tend")
        ann = await Person(w, node, "ann").entered()
        ledger = node.host._actors[ROOM].journal.held.ledger
        ann.leave()
        await asyncio.sleep(80)
        assert ledger.link(ann.sender.session, ann.sender.attach) is not None


@virtual
async def test_nobody_is_forgotten_while_what_it_asked_may_wait_for_slow_handlers() -> None:
    """Its gateway has asked more than once, and given up since; but here it comes again."""

    class Slow(ChatRoom):
        @on("chat.slow")
        async def slow(self, message: Message) -> None:
            await asyncio.sleep(5)

    async with world() as w:
        node = w.node(Slow)
        node.tasks.start(node.host.tend(lambda: [("n1", "")]), "tend")
        ann, bob = await Person(w, node, "ann").entered(), await Person(w, node, "bob").entered()
        await bob.leave().answered()
        for _ in range(30):
            ann.say("", "chat.slow")
        late = bob.ask(Enter(NEW, None), n=1, base=1)
        assert isinstance(await late.answered(200), Denied)
        ledger = node.host._actors[ROOM].journal.held.ledger
        await asyncio.sleep(90)
        assert ledger.link(bob.sender.session, bob.sender.attach) is None


@virtual
async def test_many_rooms_are_looked_after_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or everybody's messages would wait for all of them, once a second."""
    monkeypatch.setattr(module, "AT_A_TIME", 2)
    async with world() as w:
        node = w.node()
        for number in range(9):
            await Person(w, node, "ann", room=f"room-{number}").entered()
        looking = asyncio.create_task(node.host._look_after(frozenset({("n1", "")}), {}))
        seen = list[int]()
        while not looking.done():
            await asyncio.sleep(0)
            seen.append(len(node.beacons))
        assert seen[-1] == 9, "each says where it stands"
        assert max(now - before for before, now in pairwise([0, *seen])) == 2


@virtual
async def test_rooms_that_are_used_tell_where_they_stand_and_whether_others_listen() -> None:
    async with world() as w:
        node = w.node()
        node.tasks.start(node.host.tend(lambda: [("n1", ""), ("n2", "")]), "tend")
        ann = await Person(w, node, "ann", room="here").entered()
        await Person(w, node, "ann", room="both").entered()
        await Person(w, node, "bob", room="both", gateway="n2").entered()
        await asyncio.sleep(module.TEND_S)
        assert set(node.beacons) == {("here", 1, False), ("both", 2, True)}
        await asyncio.sleep(module.BEACON_S)
        node.beacons.clear()
        await asyncio.sleep(module.BEACON_S)
        assert not node.beacons
        await ann.say("").answered()
        await asyncio.sleep(module.TEND_S)
        assert node.beacons == [("here", 2, False)]
