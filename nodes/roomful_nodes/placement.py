"""Moves partitions to where they belong: this node's own part of it.

Every node acts on what it sees: it takes partitions whose owner is gone and hands over those that
another should have. The table, changed by compare-and-set, decides who was first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from roomful_nodes.view import TABLE, UP, View
from roomful_protocol.ids import NodeId
from roomful_rooms.directory import Conflict, Directory, Item, Unavailable
from roomful_rooms.host import RoomHost
from roomful_rooms.ownership import Table, plan

HAND_OVER = 16
"""Partitions handed to other nodes at a time: their rooms hiccup, the rest do not."""
RETRY_S = 0.05

log = structlog.get_logger()


class Placement:
    """`held` tells whether this node's lease is certain: only then does it move anything. `resync`
    has the view read again, as far as the broker answers."""

    def __init__(
        self,
        me: NodeId,
        directory: Directory,
        view: View,
        host: RoomHost,
        *,
        held: Callable[[], bool],
        resync: Callable[[], Awaitable[None]],
    ) -> None:
        self._me, self._directory, self._view, self._host = me, directory, view, host
        self._held, self._resync = held, resync
        self._moving: frozenset[int] = frozenset()
        self._wake = asyncio.Event()

    def look(self) -> None:
        """Something has changed in the view: see whether there is something to do."""
        self._wake.set()

    def assign(self) -> None:
        """Have the host serve what the table says."""
        mine = self._view.table.owned_by(self._me)
        # What is being handed over is nobody's to serve until the table says whose it is.
        self._host.assign({p: term for p, term in mine.items() if p not in self._moving})

    async def keep(self) -> None:
        """Take and hand over, until cancelled."""
        while True:
            self._wake.clear()
            try:
                again = await self._place()
            except (Conflict, Unavailable):
                again = True
                await asyncio.sleep(RETRY_S)
                await self._resync()
            if not again:
                await self._wake.wait()

    async def _place(self) -> bool:
        """Take and hand over what the plan says; True if there is more to do."""
        if not self._held():
            return False
        nodes, table = self._view.nodes, self._view.table
        candidates = [id for id, node in nodes.items() if node.state == UP]
        todo = plan(table, self._me, nodes, candidates)
        if todo.claim:
            await self._write(table.given(todo.claim, self._me))
            log.info("partitions.claimed", count=len(todo.claim))
        moving = todo.hand_over[:HAND_OVER]
        if moving:
            await self._hand_over(dict(moving))
        return len(todo.hand_over) > len(moving)

    async def _hand_over(self, moving: Mapping[int, NodeId]) -> None:
        self._moving = frozenset(moving)
        try:
            await asyncio.gather(*(self._host.release(partition) for partition in moving))
            table = self._view.table
            for partition, node in moving.items():
                table = table.given([partition], node)
            await self._write(table)
        finally:
            # If it was not written they are still ours, as far as anybody knows: serve on.
            self._moving = frozenset()
            self.assign()
        log.info("partitions.handed_over", count=len(moving), to=sorted(set(moving.values())))

    async def _write(self, table: Table) -> None:
        packed = table.packed()
        revision = await self._directory.put(TABLE, packed, self._view.revision(TABLE))
        self._view.hear(Item(TABLE, packed, revision))
