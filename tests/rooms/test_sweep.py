"""Members of lost nodes leave after the grace: those, only those, and each of them once."""

from asyncio import sleep

from tests.support.hosting import ROOM, Node, Person, World, world
from tests.support.virtual_time import soon, until, virtual

from roomful_protocol.blocks import Exited, Member
from roomful_protocol.ids import partition_of
from roomful_rooms.host import TEND_S
from roomful_rooms.presence import Life
from roomful_rooms.room import ChatRoom
from roomful_rooms.sweep import AT_ONCE, HEARD

GRACE_S = 15.0
SOON_S = TEND_S * 3


class Farewells(ChatRoom):
    """Says of everybody who leaves, why."""

    def on_leave(self, member: Member, reason: str) -> None:
        self.broadcast("said.bye", [member.user, reason])


class Cluster:
    """A host whose node believes that `living` live."""

    def __init__(self, w: World) -> None:
        self.world = w
        self.living: set[Life] = {("n1", ""), ("n2", "")}
        self.missed_s: dict[Life, float] = {}
        self.node = w.node(Farewells)
        self.node.tasks.start(self.node.host.tend(lambda: self.living), "tend")

    async def member(self, user: str, at: str, attach: str | None = None) -> Person:
        """Somebody whose socket is on the node `at`."""
        session, attach = f"{user}-s", attach or f"{user} at {at}"
        person = Person(self.world, self.node, user, session=session, attach=attach, gateway=at)
        return await person.entered()

    def another(self) -> Node:
        """A node that has no rooms yet, and believes the same."""
        other = self.world.node(Farewells, term=None)
        other.tasks.start(other.host.tend(lambda: self.living, lambda: self.missed_s), "tend")
        return other

    async def pass_on_to(self, other: Node) -> None:
        """The room moves there."""
        await self.node.host.release(partition_of(ROOM))
        other.own(2)

    @property
    def gone(self) -> list[tuple[str, str]]:
        return [
            (change.session.removesuffix("-s"), change.reason)
            for block in self.world.blocks()
            for change in block.members
            if isinstance(change, Exited)
        ]


@virtual
async def test_members_of_a_lost_node_leave_after_the_grace_and_on_leave_runs_for_each() -> None:
    async with world() as w:
        cluster = Cluster(w)
        for user, at in (("ann", "n1"), ("bob", "n2"), ("cat", "n2")):
            await cluster.member(user, at)
        cluster.living.discard(("n2", ""))
        await sleep(GRACE_S - 1)
        assert cluster.gone == []
        await until(lambda: len(cluster.gone) == 2, 1 + SOON_S)
        assert sorted(cluster.gone) == [("bob", "node_lost"), ("cat", "node_lost")]
        await sleep(GRACE_S)
        byes = [frame["data"] for frame in w.frames() if frame["type"] == "said.bye"]
        assert sorted(byes) == [["bob", "node_lost"], ["cat", "node_lost"]]


@virtual
async def test_who_came_back_on_another_node_stays() -> None:
    async with world() as w:
        cluster = Cluster(w)
        await cluster.member("bob", "n2")
        await cluster.member("cat", "n2")
        cluster.living.discard(("n2", ""))
        await sleep(GRACE_S / 2)
        await cluster.member("bob", "n1", "bob-again")
        await until(lambda: cluster.gone, GRACE_S)
        await sleep(GRACE_S)
        assert cluster.gone == [("cat", "node_lost")]


@virtual
async def test_a_room_that_comes_from_elsewhere_begins_no_grace_anew() -> None:
    async with world() as w:
        cluster = Cluster(w)
        other = cluster.another()
        await cluster.member("bob", "n2")
        await sleep(SOON_S)
        cluster.living.discard(("n2", ""))
        await sleep(GRACE_S - 5)
        await cluster.pass_on_to(other)
        await until(lambda: cluster.gone, 5 + SOON_S)
        assert cluster.gone == [("bob", "node_lost")]


@virtual
async def test_nor_on_a_node_that_was_started_after_the_loss_if_others_know_of_it() -> None:
    async with world() as w:
        cluster = Cluster(w)
        await cluster.member("bob", "n2")
        await sleep(SOON_S)
        cluster.living.discard(("n2", ""))
        await sleep(GRACE_S - 5)
        other = cluster.another()
        cluster.missed_s = dict(cluster.node.host.missing)
        await cluster.pass_on_to(other)
        await until(lambda: cluster.gone, 5 + SOON_S)
        assert cluster.gone == [("bob", "node_lost")]


@virtual
async def test_a_node_that_was_here_a_moment_ago_has_its_grace_whatever_others_say() -> None:
    async with world() as w:
        cluster = Cluster(w)
        other = cluster.another()
        await cluster.member("bob", "n2")
        await cluster.pass_on_to(other)
        await sleep(SOON_S)
        # They had missed it before it came back, and have not said since that they do not.
        cluster.missed_s = {("n2", ""): GRACE_S}
        cluster.living.discard(("n2", ""))
        await sleep(GRACE_S - 1)
        assert cluster.gone == []
        await until(lambda: cluster.gone == [("bob", "node_lost")], SOON_S + 1)


@virtual
async def test_a_missing_node_may_still_be_heard_by_the_next_owner_of_a_room() -> None:
    async with world() as w:
        cluster = Cluster(w)
        other = cluster.another()
        bob = await cluster.member("bob", "n2")
        await sleep(SOON_S)
        cluster.living.discard(("n2", ""))
        for _ in range(4):
            await sleep(GRACE_S / 2)
            assert await bob.say("here").answered()
        await cluster.pass_on_to(other)
        await sleep(GRACE_S * HEARD - TEND_S)
        assert cluster.gone == []
        await until(lambda: cluster.gone == [("bob", "node_lost")], SOON_S)


@virtual
async def test_a_node_that_is_seen_again_in_time_has_lost_nobody() -> None:
    async with world() as w:
        cluster = Cluster(w)
        await cluster.member("bob", "n2")
        for _ in range(3):
            cluster.living.discard(("n2", ""))
            await sleep(GRACE_S - 2)
            cluster.living.add(("n2", ""))
            await sleep(SOON_S)
        assert cluster.gone == []


@virtual
async def test_a_node_that_asks_for_its_clients_is_not_dead_though_it_has_lost_its_lease() -> None:
    async with world() as w:
        cluster = Cluster(w)
        bob = await cluster.member("bob", "n2")
        await cluster.member("cat", "n2")
        cluster.living.discard(("n2", ""))
        for _ in range(4):
            await sleep(GRACE_S / 2)
            await bob.say("still here").answered()
        assert cluster.gone == []
        await until(lambda: len(cluster.gone) == 2, GRACE_S + SOON_S)


@virtual
async def test_a_node_that_was_started_again_under_its_name_does_not_keep_the_old_ones() -> None:
    async with world() as w:
        cluster = Cluster(w)
        cluster.living = {("n1", ""), ("n2", "a")}
        await cluster.member("bob", "n2", "1.a.x")
        await sleep(SOON_S)
        cluster.living = {("n1", ""), ("n2", "b")}
        await cluster.member("cat", "n2", "1.b.y")
        await until(lambda: cluster.gone, GRACE_S + SOON_S)
        await sleep(GRACE_S)
        assert cluster.gone == [("bob", "node_lost")]


@virtual
async def test_whoever_cannot_be_asked_now_is_asked_again() -> None:
    async with world() as w:
        cluster = Cluster(w)
        await cluster.member("bob", "n2")
        cluster.living.discard(("n2", ""))
        cluster.node.log.may_write.clear()
        await sleep(GRACE_S + SOON_S)
        cluster.node.host.assign(dict.fromkeys(range(256), 2))
        cluster.node.log.may_write.set()
        await until(lambda: cluster.gone == [("bob", "node_lost")], GRACE_S + SOON_S)


@virtual
async def test_a_crowd_leaves_in_portions_between_which_others_are_heard() -> None:
    async with world() as w:
        cluster = Cluster(w)
        ann = await cluster.member("ann", "n1")
        crowd = [
            Person(w, cluster.node, f"p{n}", attach=f"p{n}", gateway="n2").enter()
            for n in range(2 * AT_ONCE + 5)
        ]
        for asked in crowd:
            await asked.answered()
        cluster.living.discard(("n2", ""))
        await sleep(GRACE_S - 1)
        await until(lambda: cluster.gone, 1 + SOON_S)
        said = ann.say("meanwhile")
        await soon(said.answered(), SOON_S)
        await until(lambda: len(cluster.gone) == len(crowd), SOON_S)
        assert len(set(cluster.gone)) == len(crowd)
        assert w.folded(ROOM).presence.nodes == {("n1", "")}
