"""What this node knows of the cluster: the living nodes, and the table of partitions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Final

import structlog

from roomful_protocol.codecs.values import unpack
from roomful_protocol.ids import NodeId, RoomName, partition_of
from roomful_rooms.directory import Directory, Item
from roomful_rooms.ownership import Table
from roomful_rooms.presence import Life

TABLE: Final = "table"
NODES: Final = "node."
ORDERS: Final = "drain."
UP: Final = "up"
DRAINING: Final = "draining"
DRAINED: Final = "drained"
ROOMS: Final = 16_384
"""So many rooms' owners are kept at hand."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What the others know of a node; `started_ms` since 1970. `state`: up, draining (it gives its
    rooms and clients away) or drained (it has none, and gets none). `left_s`: seconds until it is
    drained, as it thinks. `cost`: of what it owned when the table was at revision `placed`.
    `missing`: which lives of nodes it misses, and for how many seconds."""

    id: NodeId
    address: str
    version: str
    started_ms: int
    state: str = UP
    rooms: int = 0
    sessions: int = 0
    connections: int = 0
    cost: float = 0.0
    placed: int = 0
    left_s: float | None = None
    missing: Sequence[tuple[Life, float]] = ()

    @classmethod
    def unpacked(cls, data: bytes) -> "NodeInfo":
        """What a node says of itself; if its version is newer, as far as it is known here."""
        told = unpack(data)
        return cls(**{field.name: told[field.name] for field in fields(cls) if field.name in told})

    @property
    def life(self) -> Life:
        """This node, and no other that was started under its name before or after."""
        return self.id, life_from(self.started_ms)


@dataclass(frozen=True, slots=True)
class DrainOrder:
    """That a node drain, spreading its clients over `window_s` seconds; None: over its usual
    window. `started_ms` tells for which life of a node of that name it is meant."""

    started_ms: int
    window_s: float | None


def life_from(started_ms: int) -> str:
    """What tells a node's life from those of the same name."""
    return f"{started_ms:x}"


def key_of(node: NodeId) -> str:
    """The directory's key of a node."""
    return NODES + node


def order_of(node: NodeId) -> str:
    """The directory's key of the order that a node drain."""
    return ORDERS + node


class View:
    """The directory as heard so far. `changed` is called with the key of each change."""

    def __init__(self, me: NodeId, changed: Callable[[str], None]) -> None:
        self.nodes: dict[NodeId, NodeInfo] = {}
        self.table = Table()
        self.orders: dict[NodeId, DrainOrder] = {}
        self._me, self._changed = me, changed
        self._revisions: dict[str, int] = {}
        # Asked for every message; it changes only when something is heard.
        self.owner = lru_cache(ROOMS)(self._owner)

    def _owner(self, room: RoomName) -> NodeId | None:
        """The living node that owns `room`, as far as this node knows."""
        node = self.table.leases[partition_of(room)].node
        return node if node in self.nodes else None

    @property
    def settled(self) -> bool:
        """Whether every partition has a living owner."""
        return all(lease.node in self.nodes for lease in self.table.leases)

    def revision(self, key: str) -> int:
        """The newest revision heard of `key`, 0 if none."""
        return self._revisions.get(key, 0)

    def hear(self, item: Item) -> None:
        """Take in one change, unless a newer one of its key is known."""
        if item.revision <= self.revision(item.key):
            return
        self._revisions[item.key] = item.revision
        self._take(item)

    def _take(self, item: Item) -> None:
        if item.key == TABLE:
            self.table = Table.unpacked(item.value)
        elif item.key.startswith(NODES):
            self._take_node(item)
        elif item.key.startswith(ORDERS):
            self._take_order(item)
        self.owner.cache_clear()
        self._changed(item.key)

    def _take_node(self, item: Item) -> None:
        id = item.key.removeprefix(NODES)
        known = id in self.nodes
        if item.value is None:
            if self.nodes.pop(id, None) is not None:
                log.warning("node.lost", lost=id)
            return
        self.nodes[id] = NodeInfo.unpacked(item.value)
        if not known and id != self._me:
            log.info("node.seen", seen=id, address=self.nodes[id].address)

    def _take_order(self, item: Item) -> None:
        id = item.key.removeprefix(ORDERS)
        if item.value is None:
            self.orders.pop(id, None)
        else:
            self.orders[id] = DrainOrder(*unpack(item.value))

    async def resync(self, directory: Directory) -> None:
        """Read everything again: changes may have been missed. Raises Unavailable."""
        before = {key: self.revision(key) for key in map(key_of, self.nodes)}
        items = await directory.items()
        for key, revision in before.items():
            # Reading takes a while: what was heard of meanwhile may not have been there yet.
            if key not in items and self.revision(key) == revision:
                # Gone while we did not hear: no revision is known, so none is remembered.
                self._take(Item(key, None, 0))
        for item in items.values():
            self.hear(item)
