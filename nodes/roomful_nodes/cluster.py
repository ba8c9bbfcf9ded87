"""Membership and ownership: this node's place in the cluster, and its view of the others.

One key per living node, renewed well before it expires (`registration`); one table of partitions,
which every node changes as it sees fit (`placement`); and what is known of both (`view`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import astuple, replace
from typing import Final

import structlog

from roomful_nodes.placement import Placement
from roomful_nodes.registration import Registration
from roomful_nodes.view import DRAINING, TABLE, UP, DrainOrder, NodeInfo, View, key_of, order_of
from roomful_protocol.codecs.values import pack
from roomful_protocol.ids import NodeId
from roomful_rooms.clock import Clock
from roomful_rooms.directory import Conflict, Directory, Following, Item, Unavailable
from roomful_rooms.host import RoomHost
from roomful_rooms.ownership import Table
from roomful_rooms.presence import Life
from roomful_rooms.tasks import Tasks

RETURNS_PER_S: Final = 200.0
"""Clients sent away by draining nodes that each other node takes in, a second: one that has nothing
else to do takes in some 1000."""
ORDER_S: Final = 60
"""An order to drain that is not carried out within so many seconds is forgotten."""
RESYNC_S: Final = 10.0
"""Changes may be missed around a reconnect: everything is read again so often, in seconds."""

log = structlog.get_logger()


class Cluster:
    """Keeps this node registered, watches the others, and moves partitions to where they belong.

    `changed` is called after each change of the view, `returned` when this node is back after it
    was taken for dead, `ordered` with the window (seconds; None: the usual one) when this node is
    to drain. `counted` brings what others are told of this node up to date."""

    def __init__(
        self,
        me: NodeInfo,
        directory: Directory,
        host: RoomHost,
        *,
        clock: Clock,
        tasks: Tasks,
        lease_s: int,
        counted: Callable[[NodeInfo], NodeInfo],
        sound: Callable[[], Awaitable[None]],
        changed: Callable[[], None] = lambda: None,
        returned: Callable[[], None] = lambda: None,
        ordered: Callable[[float | None], None] = lambda _window_s: None,
    ) -> None:
        self._directory, self._tasks, self._host, self._counted = directory, tasks, host, counted
        self._changed, self._ordered = changed, ordered
        self._view = View(me.id, self._heard)
        # Asked for every message: so it is the view itself that is asked.
        self.owner = self._view.owner
        self._registration = Registration(
            me, directory, self._view, clock=clock, lease_s=lease_s, counted=self._told,
            sound=sound, serve_until=host.serve_until, returned=returned,
        )  # fmt: skip
        self._placement = Placement(
            me.id, directory, self._view, host, clock=clock, tasks=tasks,
            registration=self._registration, resync=self._resync,
        )  # fmt: skip
        self._watching: Following | None = None

    # -- the view ----------------------------------------------------------------------------------

    @property
    def me(self) -> NodeInfo:
        """What the others are told of this node."""
        return self._registration.me

    @property
    def nodes(self) -> Mapping[NodeId, NodeInfo]:
        """The living nodes, this one included."""
        return self._view.nodes

    @property
    def table(self) -> Table:
        return self._view.table

    @property
    def held(self) -> bool:
        """Whether this node's own lease is certain."""
        return self._registration.held

    @property
    def replaced(self) -> asyncio.Event:
        """Set when another process has taken this node's name: then this one must end."""
        return self._registration.replaced

    @property
    def settled(self) -> bool:
        """Whether every partition has a living owner."""
        return self._view.settled

    def _told(self, info: NodeInfo) -> NodeInfo:
        host = self._host
        return replace(
            self._counted(info), cost=round(sum(host.costs.values()), 1), missing=host.missing,
            placed=self._view.revision(TABLE),
        )  # fmt: skip

    def missed_s(self) -> dict[Life, float]:
        """Which lives of nodes others miss, and for how many seconds: the fewest that any says, as
        who has heard of one since has begun anew."""
        missed_s: dict[Life, float] = {}
        for node in self.nodes.values():
            for (name, life), seconds in node.missing if node.id != self.me.id else ():
                missed_s[name, life] = min(seconds, missed_s.get((name, life), seconds))
        return missed_s

    def pace(self) -> float:
        """How many clients a second this node may send away: its share, among those that drain, of
        what the others take in. Where there is no other, its successor will have to take them."""
        leavers = {self.me.id} | {id for id, node in self.nodes.items() if node.state == DRAINING}
        return RETURNS_PER_S * (self.takers or 1) / len(leavers)

    @property
    def owned(self) -> int:
        """How many partitions this node owns."""
        return len(self.table.owned_by(self.me.id))

    @property
    def takers(self) -> int:
        """How many other nodes may be given partitions and clients."""
        return sum(node.state == UP and id != self.me.id for id, node in self.nodes.items())

    def _heard(self, key: str) -> None:
        if key == TABLE:
            self._placement.assign()
        elif key == order_of(self.me.id):
            order = self._view.orders.get(self.me.id)
            if order is not None and order.started_ms == self.me.started_ms:
                self._ordered(order.window_s)
        self._placement.look()
        self._changed()

    # -- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Join the cluster.

        Raises Unavailable if the broker does not answer, Conflict if a node of this name lives.
        """
        self._watching = await self._directory.watch(self._view.hear)
        await self._registration.first()
        await self._view.resync(self._directory)
        self._tasks.start(self._registration.keep(), "lease")
        self._tasks.start(self._registration.keep_sound(), "soundness")
        self._tasks.start(self._placement.keep(), "placement")
        self._tasks.start(self._keep_synced(), "directory")

    async def _keep_synced(self) -> None:
        while await asyncio.sleep(RESYNC_S, result=True):
            await self._resync()

    async def _resync(self) -> None:
        try:
            await self._view.resync(self._directory)
        except Unavailable:
            log.warning("directory.unavailable")

    async def bury(self, node: NodeId) -> None:
        """Take a node that has vanished out of the directory. If it lives, it registers again."""
        key = key_of(node)
        try:
            await self._directory.delete(key, self._view.revision(key))
        except (Conflict, Unavailable) as problem:
            log.warning("node.not_buried", vanished=node, reason=str(problem))

    async def tell(self, state: str, left_s: float | None = None) -> None:
        """Have the others know that this node is in `state` (for `left_s` seconds more, it thinks).
        One that is not up is given no partitions, and hands over those that it has.

        Raises Unavailable and Conflict; then the next renewal says it.
        """
        await self._registration.tell(state, left_s)

    async def order_drain(self, node: NodeInfo, window_s: float | None) -> None:
        """Have another node (or this one) drain. Raises Unavailable, and Conflict if somebody else
        orders the same at this moment."""
        key, order = order_of(node.id), pack(astuple(DrainOrder(node.started_ms, window_s)))
        revision = await self._directory.put(key, order, self._view.revision(key), ttl_s=ORDER_S)
        self._view.hear(Item(key, order, revision))

    async def stop(self) -> None:
        """Leave the cluster: others need not wait for the lease to expire."""
        if self._watching is not None:
            await self._watching.close()
        await self._registration.end()
