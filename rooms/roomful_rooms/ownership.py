"""Which node should own which partition, and which does: pure decisions over the agreed table.

Rendezvous hashing over the living nodes proposes; the table, changed only by compare-and-set,
decides. There is no coordinator: every node looks at the same facts and acts on its own part.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b

from roomful_protocol.codecs.values import pack, unpack
from roomful_protocol.ids import PARTITIONS, NodeId, Partition


@dataclass(frozen=True, slots=True)
class Lease:
    """`node` owns a partition; `term` grows with each change of owner and fences older ones."""

    node: NodeId | None = None
    term: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """The owners of all partitions, as the directory's key `table` holds them."""

    leases: tuple[Lease, ...] = (Lease(),) * PARTITIONS

    def given(self, partitions: Iterable[Partition], node: NodeId | None) -> "Table":
        """The table after `partitions` have gone to `node`, each under a new term."""
        leases = list(self.leases)
        for partition in partitions:
            leases[partition] = Lease(node, leases[partition].term + 1)
        return replace(self, leases=tuple(leases))

    def owned_by(self, node: NodeId) -> dict[Partition, int]:
        """The partitions of `node`, with their terms."""
        return {p: lease.term for p, lease in enumerate(self.leases) if lease.node == node}

    def packed(self) -> bytes:
        nodes = sorted({lease.node for lease in self.leases if lease.node is not None})
        index: Mapping[NodeId | None, int] = {None: -1} | {n: i for i, n in enumerate(nodes)}
        return pack([nodes, [[index[lease.node], lease.term] for lease in self.leases]])

    @classmethod
    def unpacked(cls, data: bytes | None) -> "Table":
        """Raises ValueError if `data` is not a table."""
        if data is None:
            return cls()
        try:
            nodes, leases = unpack(data)
            return cls(tuple(Lease(nodes[i] if i >= 0 else None, term) for i, term in leases))
        except (TypeError, IndexError) as cause:
            raise ValueError("not a table of partitions") from cause


@lru_cache(maxsize=65_536)
def _weight(partition: Partition, node: NodeId) -> bytes:
    return blake2b(f"{partition}/{node}".encode(), digest_size=8).digest()


def proposed(partition: Partition, nodes: Collection[NodeId]) -> NodeId | None:
    """The node that should own `partition`: few partitions move when a node comes or goes."""
    return max(nodes, key=lambda node: _weight(partition, node), default=None)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one node has to do: take partitions of nobody living, hand over some of its own."""

    claim: tuple[Partition, ...] = ()
    hand_over: tuple[tuple[Partition, NodeId], ...] = ()


def plan(
    table: Table, me: NodeId, living: Collection[NodeId], candidates: Collection[NodeId]
) -> Plan:
    """`candidates`: the living nodes that may be given partitions (not those that drain)."""
    claim: list[Partition] = []
    hand_over: list[tuple[Partition, NodeId]] = []
    for partition, lease in enumerate(table.leases):
        wanted = proposed(partition, candidates)
        if wanted is None:
            continue
        if lease.node not in living:
            if wanted == me:
                claim.append(partition)
        elif lease.node == me and wanted != me:
            hand_over.append((partition, wanted))
    return Plan(tuple(claim), tuple(hand_over))
