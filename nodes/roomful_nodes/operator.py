"""What an operator sees of the whole cluster, from any node: satisfies `operations.Operations`."""

from msgspec.structs import replace

from roomful_nodes.cluster import Cluster
from roomful_nodes.drain import Drain
from roomful_nodes.history import History
from roomful_nodes.operations import NodeView, RoomView
from roomful_nodes.probe import Probe
from roomful_nodes.router import Router
from roomful_nodes.view import UP
from roomful_protocol.codecs.stored import unpack_block
from roomful_protocol.errors import Code, Refused
from roomful_protocol.ids import PARTITIONS, NodeId, RoomName, partition_of
from roomful_protocol.messages import Answer, Ask, Read, Say, Sender
from roomful_rooms.clock import NewId
from roomful_rooms.directory import Conflict
from roomful_rooms.log import Log, Record


class Operator:
    """Looks at the cluster through this node's view, and asks rooms as anybody's owner would."""

    def __init__(
        self,
        cluster: Cluster,
        probe: Probe,
        drain: Drain,
        router: Router,
        log: Log,
        history: History,
        new_id: NewId,
    ) -> None:
        self._cluster, self._probe, self._drain, self._router = cluster, probe, drain, router
        self._log, self._history, self._new_id = log, history, new_id

    def readiness(self) -> list[str]:
        reasons = []
        if self._drain.state is not None:
            reasons.append(f"This node is {self._drain.state}.")
        if not self._cluster.held:
            reasons.append("This node's lease is not certain: the broker does not answer.")
        if not self._cluster.settled:
            reasons.append("Some partitions have no living owner yet.")
        elif not self._probe.certain:
            reasons.append("Some nodes have not shown yet that they live.")
        return reasons

    async def nodes(self) -> list[NodeView]:
        owned = [lease.node for lease in self._cluster.table.leases]
        return [
            NodeView(
                id=node.id,
                address=node.address,
                state="ready" if node.state == UP else node.state,
                partitions=owned.count(node.id),
                rooms=node.rooms,
                sessions=node.sessions,
                connections=node.connections,
                cost=round(node.cost, 1),
                left_s=node.left_s,
                version=node.version,
                started_ms=node.started_ms,
            )
            for node in sorted(self._cluster.nodes.values(), key=lambda node: node.started_ms)
        ]

    async def drain(self, node: NodeId, window_s: float | None) -> None:
        info = self._cluster.nodes.get(node)
        if info is None:
            raise Refused(Code.UNKNOWN_TARGET, f"No living node is named {node}.")
        try:
            await self._cluster.order_drain(info, window_s)
        except Conflict:
            raise Refused(Code.BUSY, f"Somebody else orders {node} to drain, too.") from None

    async def rooms(self) -> list[RoomView]:
        records = [
            record for partition in range(PARTITIONS) for record in await self._log.rooms(partition)
        ]
        return sorted(map(self._room, records), key=lambda room: room.name)

    def _room(self, record: Record) -> RoomView:
        block = unpack_block(record.data)
        return RoomView(
            name=record.room,
            partition=partition_of(record.room),
            owner=self._cluster.owner(record.room),
            seq=block.last,
            members=block.count,
            active_ms=block.ts,
        )

    async def ask(self, room: RoomName, ask: Ask, user: str = "operator") -> Answer:
        me = self._cluster.me.id
        sender = Sender(session=f"{me}-operator", user=user, name=user, node=me, attach="operator")
        if isinstance(ask, Say) and ask.id is None:
            # It is sent again if no answer comes: the room has to recognise it.
            ask = replace(ask, id=self._new_id())
        if isinstance(ask, Read):
            return await self._history.read(room, sender, ask)
        return await self._router.request(room, sender, ask)
