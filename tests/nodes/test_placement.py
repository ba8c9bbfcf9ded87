"""Nodes that place partitions on a directory in memory, in virtual time: who has what, and when."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from structlog.testing import capture_logs
from tests.support.virtual_time import clock, until, virtual

from roomful_nodes.calm import CALM_S
from roomful_nodes.cluster import Cluster
from roomful_nodes.placement import AT_ONCE, ROUND
from roomful_nodes.view import DRAINING, TABLE, NodeInfo
from roomful_protocol.ids import PARTITIONS
from roomful_rooms.directory import Conflict
from roomful_rooms.memory_directory import DirectoryStore, MemoryDirectory
from roomful_rooms.memory_link import Link
from roomful_rooms.presence import Life
from roomful_rooms.tasks import Tasks

CLOSING_S = 0.02


class Host:
    """Serves what it is assigned; closing a partition's rooms takes a while."""

    def __init__(self, costs: Mapping[int, float]) -> None:
        self.serving: dict[int, int] = {}
        self.slow: dict[int, float] = {}
        self.closing: set[int] = set()
        self.most_closing = 0
        self._costs = costs
        self.missing: list[tuple[Life, float]] = []

    @property
    def costs(self) -> dict[int, float]:
        return {partition: self._costs.get(partition, 1.0) for partition in self.serving}

    def assign(self, terms: Mapping[int, int], _costs: Mapping[int, float]) -> None:
        assert not self.closing.intersection(terms), "it would serve what it is closing"
        self.serving = dict(terms)

    async def release(self, partition: int) -> None:
        self.serving.pop(partition)
        self.closing.add(partition)
        self.most_closing = max(self.most_closing, len(self.closing))
        await asyncio.sleep(self.slow.get(partition, CLOSING_S))
        self.closing.discard(partition)

    def serve_until(self, until: float) -> None:
        """Nothing here depends on it."""


class Node:
    def __init__(self, cluster: Cluster, host: Host, link: Link) -> None:
        self.cluster, self.host, self.link = cluster, host, link

    @property
    def owned(self) -> int:
        return len(self.host.serving)


class World:
    """Nodes on one store. `costs` of partitions are the same wherever they are."""

    def __init__(self) -> None:
        self.store = DirectoryStore(clock())
        self.costs: dict[int, float] = {}

    @asynccontextmanager
    async def node(self, id: str) -> AsyncIterator[Node]:
        link, host, tasks = Link(), Host(self.costs), Tasks(id)
        cluster = Cluster(
            NodeInfo(id, "", "", 0), MemoryDirectory(self.store, link), cast("Any", host),
            clock=clock(), tasks=tasks, lease_s=5, counted=lambda info: info, sound=sound,
        )  # fmt: skip
        await cluster.start()
        try:
            yield Node(cluster, host, link)
        finally:
            await cluster.stop()
            await tasks.close()


async def sound() -> None:
    """Everything answers."""


def check_each_served_once(*nodes: Node) -> None:
    served = Counter(partition for node in nodes for partition in node.host.serving)
    assert served == Counter(range(PARTITIONS))


@virtual
async def test_a_new_node_gets_its_share_a_few_at_a_time_once_it_has_lived_for_a_while() -> None:
    world = World()
    async with world.node("a") as one:
        await until(lambda: one.owned == PARTITIONS)
        async with world.node("b") as two:
            await asyncio.sleep(CALM_S[0] - 0.5)
            assert two.owned == 0
            with capture_logs() as logs:
                await until(lambda: two.owned > 0.4 * PARTITIONS)
                await asyncio.sleep(30)
            check_each_served_once(one, two)
            assert one.host.most_closing == AT_ONCE
            given = [line["count"] for line in logs if line["event"] == "partitions.handed_over"]
            assert max(given) == ROUND
            # Nothing goes to and fro.
            assert sum(given) == two.owned <= PARTITIONS / 2


@virtual
async def test_two_nodes_give_to_a_third_at_the_same_time_and_not_too_much() -> None:
    world = World()
    async with world.node("a") as one, world.node("b") as two:
        await until(lambda: abs(one.owned - two.owned) < 40)
        async with world.node("c") as three:
            await until(lambda: three.owned > 65)
            await asyncio.sleep(30)
            check_each_served_once(one, two, three)
            assert all(65 < node.owned < 100 for node in (one, two, three))


@virtual
async def test_what_costs_much_weighs_more_than_many_that_cost_nothing() -> None:
    world = World()
    async with world.node("a") as one:
        await until(lambda: one.owned == PARTITIONS)
        world.costs |= {7: 400.0, 8: 400.0}
        async with world.node("b") as two:
            await until(lambda: (7 in two.host.serving) != (8 in two.host.serving))
            await asyncio.sleep(30)
            assert abs(sum(one.host.costs.values()) - sum(two.host.costs.values())) < 100


@virtual
async def test_a_node_that_dies_is_followed_at_once() -> None:
    world = World()
    async with world.node("a") as one, world.node("b") as two:
        await until(lambda: two.owned > 100)
        await asyncio.sleep(30)
        assert one.owned + two.owned == PARTITIONS
        await one.cluster.bury("b")
        await until(lambda: one.owned == PARTITIONS, within_s=0.5)


@virtual
async def test_nodes_that_come_and_vanish_again_and_again_are_given_less_and_less() -> None:
    world = World()
    async with world.node("a") as one:
        await until(lambda: one.owned == PARTITIONS)
        given = []
        for _ in range(5):
            with capture_logs() as logs:
                async with world.node("b"):
                    await asyncio.sleep(10)
            lines = [line for line in logs if line["event"] == "partitions.handed_over"]
            given.append(sum(line["count"] for line in lines))
            await until(lambda: one.owned == PARTITIONS)
        assert given[0] > given[2] > 0
        assert given[3:] == [0, 0]


@virtual
async def test_who_drains_gives_all_away_without_waiting_for_calm() -> None:
    world = World()
    async with world.node("a") as one, world.node("b") as two, world.node("c") as three:
        await until(lambda: one.owned == PARTITIONS)
        await one.cluster.tell(DRAINING)
        await until(
            lambda: two.owned + three.owned == PARTITIONS,
            within_s=PARTITIONS / AT_ONCE * CLOSING_S * 2,
        )
        check_each_served_once(one, two, three)
        assert abs(two.owned - three.owned) <= 1


@virtual
async def test_a_room_that_does_not_end_holds_up_nothing_else() -> None:
    world = World()
    async with world.node("a") as one, world.node("b") as two:
        await until(lambda: one.owned == PARTITIONS)
        one.host.slow[100] = 8.0
        await one.cluster.tell(DRAINING)
        await until(lambda: two.owned == PARTITIONS - 1, within_s=4)
        assert 100 in one.host.closing
        await until(lambda: two.owned == PARTITIONS, within_s=9)
        check_each_served_once(one, two)


@virtual
async def test_while_one_hands_over_it_still_follows_the_dead() -> None:
    world = World()
    async with world.node("a") as one, world.node("b") as two, world.node("c") as three:
        await until(lambda: three.owned > 60)
        one.host.slow = dict.fromkeys(range(PARTITIONS), 9.0)
        await one.cluster.tell(DRAINING)
        await until(lambda: one.host.closing)
        await one.cluster.bury("b")
        await until(lambda: three.owned + one.owned + len(one.host.closing) == PARTITIONS, 2)
        assert two.owned == 0


class Contended(MemoryDirectory):
    """Somebody else is always first, for so many times."""

    def __init__(self, store: DirectoryStore, times: int) -> None:
        super().__init__(store)
        self.times = times

    async def put(self, key: str, value: bytes, after: int, ttl_s: int | None = None) -> int:
        if key == TABLE and self.times:
            self.times -= 1
            raise Conflict(key)
        return await super().put(key, value, after, ttl_s)


@virtual
async def test_who_was_not_the_first_to_follow_the_dead_does_not_wait_for_slow_rooms() -> None:
    world = World()
    async with world.node("a") as one, world.node("b") as two:
        await until(lambda: two.owned > 100)
        await asyncio.sleep(30)
        one.host.slow = dict.fromkeys(range(PARTITIONS), 9.0)
        async with world.node("c"):
            await until(lambda: one.host.closing)
            kept = one.owned + len(one.host.closing)
            one.cluster._placement._directory = Contended(world.store, times=3)
            await one.cluster.bury("b")
            await until(lambda: one.owned + len(one.host.closing) > kept + 20, within_s=1)


@virtual
async def test_two_that_drain_at_once_give_everything_to_the_third() -> None:
    world = World()
    async with world.node("a") as one, world.node("b") as two, world.node("c") as three:
        await until(lambda: two.owned > 60 and three.owned > 60)
        await one.cluster.tell(DRAINING)
        await two.cluster.tell(DRAINING)
        await until(lambda: three.owned == PARTITIONS)
        check_each_served_once(one, two, three)


@virtual
async def test_where_all_drain_those_who_have_something_keep_it_and_the_dead_are_followed() -> None:
    world = World()
    async with world.node("a") as one, world.node("b") as two:
        await until(lambda: two.owned > 100)
        await one.cluster.tell(DRAINING)
        await two.cluster.tell(DRAINING)
        await asyncio.sleep(5)
        check_each_served_once(one, two)
        await one.cluster.bury("b")
        await until(lambda: one.owned == PARTITIONS)


@virtual
async def test_a_broker_that_goes_away_in_the_middle_leaves_nothing_unserved() -> None:
    world = World()
    async with world.node("a") as one, world.node("b") as two:
        await until(lambda: one.owned == PARTITIONS)
        await one.cluster.tell(DRAINING)
        await until(lambda: two.owned > 20)
        one.link.cut()
        await asyncio.sleep(0.5)
        one.link.mend()
        await until(lambda: two.owned == PARTITIONS)
        check_each_served_once(one, two)


@virtual
async def test_a_node_is_told_for_how_long_others_have_missed_whom() -> None:
    world, lost = World(), ("x", "1")
    async with world.node("a") as one, world.node("b") as two:
        one.host.missing, two.host.missing = [(lost, 12.5), (("y", "1"), 3.0)], [(lost, 4.0)]
        async with world.node("c") as three:
            three.host.missing = [(lost, 0.5)]
            # Told with the next renewal; of those who say different things who waits longest.
            await until(lambda: three.cluster.missed_s() == {lost: 4.0, ("y", "1"): 3.0})
            await until(lambda: one.cluster.missed_s() == {lost: 0.5})
