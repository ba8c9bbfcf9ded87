"""Which node should own which partition, and which does: pure decisions over the agreed table.

There is no coordinator: every node looks at the same facts and acts on its own part, and the table,
changed only by compare-and-set, decides. What nobody living owns is claimed by whom rendezvous
hashing proposes, at once. What is owned stays where it is, until its owner goes or has so much more
to do than others that moving something evens it out.

A partition's cost is 1 for being there and what its rooms add (`costs`).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from roomful_protocol.codecs.values import pack, unpack
from roomful_protocol.ids import PARTITIONS, NodeId, Partition

UNEVEN: Final = 0.15
"""Nodes may differ by so much of the mean cost, or by UNEVEN_AT_LEAST, before anything is moved."""
UNEVEN_AT_LEAST: Final = 8.0
WORTH_IT: Final = 0.75
"""A partition that is more than so much of the difference of two nodes does not go from one to the
other: it would soon want to go back."""

Costs = Mapping[Partition, float]
NodeCosts = Mapping[NodeId, float]
Gift = tuple[Partition, NodeId]
"""A partition, and whom it goes to."""


@dataclass(frozen=True, slots=True)
class Lease:
    """`node` owns a partition; `term` grows with each change of owner and fences older ones.
    `cost`: as its owner measured it when it last gave it away."""

    node: NodeId | None = None
    term: int = 0
    cost: int = 1


@dataclass(frozen=True, slots=True)
class Table:
    """The owners of all partitions, as the directory's key `table` holds them."""

    leases: tuple[Lease, ...] = (Lease(),) * PARTITIONS

    def given(
        self, partitions: Iterable[Partition], node: NodeId | None, costs: Costs | None = None
    ) -> "Table":
        """The table after `partitions` have gone to `node`, each under a new term."""
        leases = list(self.leases)
        for partition in partitions:
            was = leases[partition]
            cost = was.cost if costs is None else round(costs.get(partition, was.cost))
            leases[partition] = Lease(node, was.term + 1, cost)
        return replace(self, leases=tuple(leases))

    def owned_by(self, node: NodeId) -> dict[Partition, int]:
        """The partitions of `node`, with their terms."""
        return {p: lease.term for p, lease in enumerate(self.leases) if lease.node == node}

    def packed(self) -> bytes:
        nodes = sorted({lease.node for lease in self.leases if lease.node is not None})
        index: Mapping[NodeId | None, int] = {None: -1} | {n: i for i, n in enumerate(nodes)}
        leases = [[index[lease.node], lease.term, lease.cost] for lease in self.leases]
        return pack([nodes, leases])

    @classmethod
    def unpacked(cls, data: bytes | None) -> "Table":
        """Raises ValueError if `data` is not a table."""
        if data is None:
            return cls()
        try:
            nodes, leases = unpack(data)
            return cls(tuple(Lease(nodes[i] if i >= 0 else None, *rest) for i, *rest in leases))
        except (TypeError, IndexError) as cause:
            raise ValueError("not a table of partitions") from cause


@lru_cache(maxsize=65_536)
def _weight(partition: Partition, node: NodeId) -> bytes:
    return blake2b(f"{partition}/{node}".encode(), digest_size=8).digest()


def proposed(partition: Partition, nodes: Collection[NodeId]) -> NodeId | None:
    """The node that should own `partition` where nobody does."""
    return max(nodes, key=lambda node: _weight(partition, node), default=None)


def claims(
    table: Table, me: NodeId, living: Collection[NodeId], takers: Collection[NodeId]
) -> list[Partition]:
    """The partitions of nobody living that `me` should take. `takers`: the living nodes that may be
    given something, not those that drain; only where there is none, these go on."""
    return [
        partition
        for partition, lease in enumerate(table.leases)
        if lease.node not in living and proposed(partition, takers or living) == me
    ]


def given_away(mine: Costs, takers: NodeCosts) -> list[Gift]:
    """Everything that a node owns that drains, the dearest first: each partition for whoever will
    have the least to do by then."""
    loads = dict(takers)
    gifts: list[Gift] = []
    for partition in sorted(mine, key=lambda partition: (-mine[partition], partition)):
        if not loads:
            break
        node = min(loads, key=lambda node: (loads[node], _weight(partition, node)))
        loads[node] += mine[partition]
        gifts.append((partition, node))
    return gifts


def evened(me: NodeId, mine: Costs, nodes: NodeCosts) -> list[Gift]:
    """What `me` should give to others so that all have about as much to do; mostly nothing.

    `nodes` are all that may be given something, `me` among them. What those lack who have less than
    the mean is made up by those who have more, each by its part: so they need not ask each other,
    and nobody is given too much.
    """
    mean = sum(nodes.values()) / len(nodes)
    richest = max(nodes, key=lambda node: (nodes[node], node))
    poorest = min(nodes, key=lambda node: (nodes[node], node))
    gap = nodes[richest] - nodes[poorest]
    if gap <= max(UNEVEN * mean, UNEVEN_AT_LEAST) or nodes[me] <= mean:
        return []
    rich = sum(cost - mean for cost in nodes.values() if cost > mean)
    part = (nodes[me] - mean) / rich
    lacking = {node: (mean - cost) * part for node, cost in nodes.items() if cost < mean}
    return _filled(lacking, mine) or _one_for(poorest, gap if me == richest else 0.0, mine)


def _filled(lacking: NodeCosts, mine: Costs) -> list[Gift]:
    """As many partitions as fit into what nodes lack: few dear ones rather than many cheap ones."""
    gifts: list[Gift] = []
    left = dict(mine)
    for node, lacks in sorted(lacking.items(), key=lambda each: (-each[1], each[0])):
        room = lacks
        order = sorted(left, key=lambda partition: (left[partition], _weight(partition, node)))
        for partition in reversed(order):
            if left[partition] <= room:
                room -= left.pop(partition)
                gifts.append((partition, node))
    return gifts


def _one_for(node: NodeId, gap: float, mine: Costs) -> list[Gift]:
    """Nothing fits exactly: the dearest partition that still makes `gap` smaller."""
    fitting = [partition for partition in mine if mine[partition] <= WORTH_IT * gap]
    dearest = max(fitting, key=lambda partition: (mine[partition], partition), default=None)
    return [] if dearest is None else [(dearest, node)]
