"""Membership and ownership: this node's place in the cluster, and its view of the others.

One key per living node, renewed well before it expires; one table of partitions. Every node acts
on what it sees: it takes partitions whose owner is gone and hands over those another should have.
A deadline counts from the *sending* of the last renewal that succeeded, on the monotonic clock, so
a node that was paused knows on waking that it may have been declared dead.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

import structlog

from roomful_protocol.codecs.values import pack, unpack
from roomful_protocol.ids import NodeId, RoomName, partition_of
from roomful_rooms.clock import Clock
from roomful_rooms.directory import Conflict, Directory, Following, Item, Unavailable
from roomful_rooms.host import RoomHost
from roomful_rooms.ownership import Table, plan
from roomful_rooms.tasks import Tasks

TABLE = "table"
NODES = "node."
HAND_OVER = 16
"""Partitions handed to other nodes at a time: their rooms hiccup, the rest do not."""
RETRY_S = 0.05
EXPIRY_LATE_S = 2.0
"""The broker may notice so much later that a key has expired, in seconds."""
RESYNC_S = 10.0
"""Changes may be missed around a reconnect: everything is read again so often, in seconds."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What the others know of a node; `started_ms` since 1970."""

    id: NodeId
    address: str
    version: str
    started_ms: int
    state: str = "up"
    rooms: int = 0
    sessions: int = 0


class Cluster:
    """Keeps this node registered, watches the others, and moves partitions to where they belong.

    `changed` is called after each change of the view, `returned` when this node is back after it
    was taken for dead. `load` tells (rooms, sessions) for others to see.
    """

    def __init__(
        self,
        me: NodeInfo,
        directory: Directory,
        host: RoomHost,
        *,
        clock: Clock,
        tasks: Tasks,
        lease_s: int,
        load: Callable[[], tuple[int, int]],
        changed: Callable[[], None] = lambda: None,
        returned: Callable[[], None] = lambda: None,
    ) -> None:
        self.me = me
        self.nodes: dict[NodeId, NodeInfo] = {}
        self.table = Table()
        self._directory, self._host, self._clock, self._tasks = directory, host, clock, tasks
        self._lease_s, self._load = lease_s, load
        self._changed, self._returned = changed, returned
        self._watching: Following | None = None
        self._revision = 0
        self._table_revision = 0
        self._seen: dict[str, int] = {}
        self._until = 0.0
        self._taken_for_dead = False
        self._moving: frozenset[int] = frozenset()
        self._wake = asyncio.Event()
        self._emptied = asyncio.Event()

    # -- the view ----------------------------------------------------------------------------------

    def owner(self, room: RoomName) -> NodeId | None:
        """The living node that owns `room`, as far as this node knows."""
        node = self.table.leases[partition_of(room)].node
        return node if node in self.nodes else None

    @property
    def held(self) -> bool:
        """Whether this node's own lease is certain."""
        return self._clock.monotonic() < self._until

    @property
    def settled(self) -> bool:
        """Whether every partition has a living owner."""
        return all(lease.node in self.nodes for lease in self.table.leases)

    def _heard(self, item: Item) -> None:
        if item.revision <= self._seen.get(item.key, 0):
            return
        self._seen[item.key] = item.revision
        if item.key == TABLE:
            self._see_table(item)
        elif item.key.startswith(NODES):
            self._see_node(item)
        self._wake.set()
        self._changed()

    def _see_table(self, item: Item) -> None:
        self.table, self._table_revision = Table.unpacked(item.value), item.revision
        self._assign()

    def _assign(self) -> None:
        mine = self.table.owned_by(self.me.id)
        # What is being handed over is nobody's to serve until the table says whose it is.
        self._host.assign({p: term for p, term in mine.items() if p not in self._moving})
        if not mine:
            self._emptied.set()

    def _see_node(self, item: Item) -> None:
        id = item.key.removeprefix(NODES)
        known = id in self.nodes
        if item.value is None:
            if self.nodes.pop(id, None) is not None:
                log.warning("node.lost", lost=id)
            return
        self.nodes[id] = NodeInfo(**unpack(item.value))
        if not known and id != self.me.id:
            log.info("node.seen", seen=id, address=self.nodes[id].address)

    async def _resync(self) -> None:
        items = await self._directory.items()
        for key in [NODES + id for id in self.nodes]:
            if key not in items:
                # Gone while we did not hear: no revision is known, so none is remembered.
                self._see_node(Item(key, None, 0))
        for item in items.values():
            self._heard(item)

    # -- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Join the cluster.

        Raises Unavailable if the broker does not answer, Conflict if a node of this name lives.
        """
        self._watching = await self._directory.watch(self._heard)
        await self._register_first()
        await self._resync()
        self._tasks.start(self._keep_registered(), "lease")
        self._tasks.start(self._keep_placed(), "placement")
        self._tasks.start(self._keep_synced(), "directory")

    async def _register_first(self) -> None:
        """A node that was given a name may have died under it a moment ago: wait for its lease."""
        patience = self._clock.monotonic() + self._lease_s + EXPIRY_LATE_S
        while True:
            try:
                await self._register()
            except Conflict:
                if self._clock.monotonic() > patience:
                    raise Conflict(
                        f"A node named {self.me.id} is running already: choose another --node-id."
                    ) from None
                await asyncio.sleep(EXPIRY_LATE_S / 4)
            else:
                return

    async def _register(self) -> None:
        rooms, sessions = self._load()
        self.me = replace(self.me, rooms=rooms, sessions=sessions)
        sent = self._clock.monotonic()
        self._revision = await self._directory.put(
            NODES + self.me.id, pack(asdict(self.me)), self._revision, ttl_s=self._lease_s
        )
        # Whole seconds of the broker's clock may be a little shorter than ours.
        self._until = sent + self._lease_s * 0.9
        self._host.suspend(False)

    async def _keep_registered(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 5)
            try:
                await asyncio.wait_for(self._register(), self._lease_s / 2)
            except (Unavailable, TimeoutError):
                log.warning(
                    "node.lease_unsure", left_s=round(self._until - self._clock.monotonic(), 1)
                )
            except Conflict:
                await self._reregister()
            else:
                self._back()
            if not self.held:
                self._host.suspend(True)

    def _back(self) -> None:
        """Others may have swept what was ours while we were away."""
        if self._taken_for_dead:
            self._taken_for_dead = False
            self._returned()

    async def _reregister(self) -> None:
        """Our key has expired or been written by an attempt of ours that seemed to fail."""
        try:
            item = (await self._directory.items()).get(NODES + self.me.id)
        except Unavailable:
            return
        log.warning("node.lease_lost" if item is None else "node.lease_unsure")
        self._taken_for_dead |= item is None
        self._revision = 0 if item is None else item.revision

    async def _keep_synced(self) -> None:
        while await asyncio.sleep(RESYNC_S, result=True):
            await self._try_resync()

    async def _try_resync(self) -> None:
        try:
            await self._resync()
        except Unavailable:
            log.warning("directory.unavailable")

    async def bury(self, node: NodeId) -> None:
        """Take a node that has vanished out of the directory. If it lives, it registers again."""
        key = NODES + node
        try:
            await self._directory.delete(key, self._seen.get(key, 0))
        except (Conflict, Unavailable) as problem:
            log.warning("node.not_buried", vanished=node, reason=str(problem))

    # -- placement ---------------------------------------------------------------------------------

    async def _keep_placed(self) -> None:
        while True:
            self._wake.clear()
            try:
                again = await self._place()
            except (Conflict, Unavailable):
                again = True
                await asyncio.sleep(RETRY_S)
                await self._try_resync()
            if not again:
                await self._wake.wait()

    async def _place(self) -> bool:
        """Take and hand over what the plan says; True if there is more to do."""
        if not self.held:
            return False
        candidates = [id for id, node in self.nodes.items() if node.state == "up"]
        todo = plan(self.table, self.me.id, self.nodes, candidates)
        if todo.claim:
            await self._write(self.table.given(todo.claim, self.me.id))
            log.info("partitions.claimed", count=len(todo.claim))
        moving = todo.hand_over[:HAND_OVER]
        if moving:
            await self._hand_over(dict(moving))
        return len(todo.hand_over) > len(moving)

    async def _hand_over(self, moving: Mapping[int, NodeId]) -> None:
        self._moving = frozenset(moving)
        try:
            await asyncio.gather(*(self._host.release(partition) for partition in moving))
            table = self.table
            for partition, node in moving.items():
                table = table.given([partition], node)
            await self._write(table)
        finally:
            # If it was not written they are still ours, as far as anybody knows: serve on.
            self._moving = frozenset()
            self._assign()
        log.info("partitions.handed_over", count=len(moving), to=sorted(set(moving.values())))

    async def _write(self, table: Table) -> None:
        revision = await self._directory.put(TABLE, table.packed(), self._table_revision)
        self._heard(Item(TABLE, table.packed(), revision))

    async def drain(self) -> None:
        """Hand all partitions to others, if there are any; the node stays until `stop`.

        Takes as long as it takes: the caller sets a limit. Raises Unavailable and Conflict.
        """
        self.me = replace(self.me, state="draining")
        await self._register()
        self._heard(Item(NODES + self.me.id, pack(asdict(self.me)), self._revision))
        self._emptied.clear()
        self._assign()
        if any(node.state == "up" for node in self.nodes.values()):
            await self._emptied.wait()

    async def stop(self) -> None:
        """Leave the cluster: others need not wait for the lease to expire."""
        if self._watching is not None:
            await self._watching.close()
        try:
            await self._directory.delete(NODES + self.me.id, self._revision)
        except (Conflict, Unavailable):
            log.warning("node.leave_unsure")
