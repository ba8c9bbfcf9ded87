"""A node that has ended is noticed by its neighbours, and nobody else is."""

import asyncio

from tests.support.virtual_time import clock, virtual

from roomful_nodes.memory_bus import BusSwitch, MemoryBus
from roomful_nodes.probe import BOUNCES, NEIGHBOURS, SOUND_S, Probe, neighbours
from roomful_protocol.subjects import Subjects
from roomful_rooms.memory_link import Link
from roomful_rooms.tasks import Tasks


def test_everybody_is_watched_by_as_many() -> None:
    nodes = [f"n{number}" for number in range(10)]
    watched = [other for node in nodes for other in neighbours(node, nodes)]
    assert {node: watched.count(node) for node in nodes} == dict.fromkeys(nodes, NEIGHBOURS)


def test_a_small_cluster_watches_all_others() -> None:
    assert neighbours("a", {"a", "b"}) == ["b"]
    assert neighbours("a", {"a"}) == []
    assert neighbours("newcomer", {"a", "b"}) == ["a", "b"]


PROBE_S = 0.2
NOTICED_S = (BOUNCES + 2) * PROBE_S
"""So many pings bounce in this time at the latest."""


class Watchers:
    """Nodes that watch each other; `buried` are those taken out of the directory, in order."""

    def __init__(self, *names: str) -> None:
        self.switch = BusSwitch()
        self.links = {name: Link() for name in names}
        self.listed = set(names)
        self.buried: list[str] = []
        self.tasks = {name: Tasks(name) for name in names}
        self.probes = {
            name: Probe(
                name, MemoryBus(self.switch, link), Subjects(), clock=clock(),
                nodes=lambda: self.listed, bury=self._bury, probe_s=PROBE_S,
            )
            for name, link in self.links.items()
        }  # fmt: skip
        for name, probe in self.probes.items():
            self.tasks[name].start(probe.run(), "probe")

    async def _bury(self, node: str) -> None:
        self.buried.append(node)
        self.listed.discard(node)

    async def kill(self, *names: str) -> None:
        for name in names:
            await self.tasks[name].close()

    async def __aenter__(self) -> "Watchers":
        await asyncio.sleep(10)
        assert self.buried == []
        assert all(probe.certain for probe in self.probes.values())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill(*self.tasks)


@virtual
async def test_who_has_ended_is_buried_in_time_and_who_lives_is_not() -> None:
    async with Watchers("a", "b", "c") as watchers:
        await watchers.kill("b")
        await asyncio.sleep((BOUNCES - 1) * PROBE_S)
        assert watchers.buried == [], "one lost ping is no proof"
        await asyncio.sleep(NOTICED_S)
        assert set(watchers.buried) == {"b"}
        await asyncio.sleep(60)
        assert set(watchers.buried) == {"b"}


@virtual
async def test_two_nodes_are_enough_to_notice() -> None:
    async with Watchers("a", "b") as watchers:
        await watchers.kill("a")
        await asyncio.sleep(NOTICED_S)
        assert watchers.buried == ["a"]


@virtual
async def test_neighbours_that_die_at_once_are_noticed_as_soon() -> None:
    """As many as one node watches, whoever they are."""
    names = [f"n{number}" for number in range(10)]
    async with Watchers(*names) as watchers:
        dead = names[2 : 2 + NEIGHBOURS]
        await watchers.kill(*dead)
        await asyncio.sleep(NOTICED_S)
        assert set(watchers.buried) == set(dead)


@virtual
async def test_more_than_all_its_watchers_die_with_a_node() -> None:
    """It is noticed by those who come to watch it next."""
    names = [f"n{number}" for number in range(10)]
    async with Watchers(*names) as watchers:
        dead = names[1:8]
        await watchers.kill(*dead)
        await asyncio.sleep(3 * NOTICED_S)
        assert set(watchers.buried) == set(dead)


@virtual
async def test_who_was_away_itself_accuses_nobody_until_others_may_be_back() -> None:
    async with Watchers("a", "b", "c") as watchers:
        for link in watchers.links.values():
            link.cut()
        await asyncio.sleep(5)
        watchers.links["a"].mend()
        await asyncio.sleep(SOUND_S - PROBE_S)
        assert watchers.buried == []
        for link in watchers.links.values():
            link.mend()
        await asyncio.sleep(60)
        assert watchers.buried == []


@virtual
async def test_a_loss_too_short_to_be_seen_counts_as_well() -> None:
    async with Watchers("a", "b") as watchers:
        for link in watchers.links.values():
            link.cut()
        watchers.links["a"].mend()
        await asyncio.sleep(SOUND_S - PROBE_S)
        assert watchers.buried == []
