"""Seam: what an operator may ask of a node, about the whole cluster.

Declared here for the HTTP API, which is its user; the node satisfies it.
"""

from dataclasses import dataclass
from typing import Protocol

from roomful_protocol.ids import NodeId, Partition, RoomName
from roomful_protocol.messages import Answer, Ask


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node as the cluster sees it; `state` is ready, draining or drained, `left_s` the seconds
    until it is drained, as it thinks. `cost` is what its rooms give it to do, by which partitions
    are placed."""

    id: NodeId
    address: str
    state: str
    partitions: int
    rooms: int
    sessions: int
    connections: int
    cost: float
    left_s: float | None
    version: str
    started_ms: int


@dataclass(frozen=True, slots=True)
class RoomView:
    """One room: `seq` is its head, `active_ms` when its last event happened (since 1970)."""

    name: RoomName
    partition: Partition
    owner: NodeId | None
    seq: int
    members: int
    active_ms: int


class Operations(Protocol):
    """What an operator may ask of a node about the whole cluster."""

    def readiness(self) -> list[str]:
        """Why clients should not be sent here, in words; empty when they should."""
        ...

    async def nodes(self) -> list[NodeView]:
        """The living nodes. Raises Unavailable."""
        ...

    async def drain(self, node: NodeId, window_s: float | None) -> None:
        """Have a node give its rooms and clients to others; None: over its usual window. Returns
        when it has been told. Raises Refused if no such node lives, and Unavailable."""
        ...

    async def rooms(self) -> list[RoomView]:
        """All rooms that have a log, in memory or not. Raises Unavailable."""
        ...

    async def ask(self, room: RoomName, ask: Ask, user: str = "operator") -> Answer:
        """The owner's answer, retried while it moves; pages that it names are read already."""
        ...
