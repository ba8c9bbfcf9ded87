"""A node that has ended is noticed by its neighbours, and nobody else is."""

import asyncio

from tests.support.cluster import until

from roomful_nodes.memory_bus import BusSwitch, MemoryBus
from roomful_nodes.probe import BOUNCES, NEIGHBOURS, PROBE_S, Probe, neighbours
from roomful_protocol.subjects import Subjects
from roomful_rooms.clock import Clock
from roomful_rooms.tasks import Tasks


def test_everybody_is_watched_by_as_many() -> None:
    nodes = [f"n{number}" for number in range(10)]
    watched = [other for node in nodes for other in neighbours(node, nodes)]
    assert {node: watched.count(node) for node in nodes} == dict.fromkeys(nodes, NEIGHBOURS)


def test_a_small_cluster_watches_all_others() -> None:
    assert neighbours("a", {"a", "b"}) == ["b"]
    assert neighbours("a", {"a"}) == []
    assert neighbours("newcomer", {"a", "b"}) == ["a", "b"]


async def test_who_has_ended_is_buried_and_who_lives_is_not() -> None:
    switch, tasks = BusSwitch(), Tasks("test")
    buried: list[str] = []
    nodes = {"one", "two", "gone"}
    started = asyncio.get_running_loop().time()

    async def bury(node: str) -> None:
        buried.append(node)
        nodes.discard(node)

    def probe(name: str) -> Probe:
        clock = Clock(asyncio.get_running_loop().time, lambda: 0)
        bus = MemoryBus(switch)
        return Probe(name, bus, Subjects(), clock=clock, nodes=lambda: nodes, bury=bury)

    for name in ("one", "two"):
        tasks.start(probe(name).run(), name)
    try:
        await until(lambda: "gone" in buried, "the missing node is noticed")
        took = asyncio.get_running_loop().time() - started
        assert took >= BOUNCES * PROBE_S
        assert set(buried) == {"gone"}
    finally:
        await tasks.close()
