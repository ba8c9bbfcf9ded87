"""Moves partitions to where they belong: this node's own part of it.

It takes partitions whose owner is gone, gives away all it has when it drains, and gives some to
others that have less to do. The table, changed by compare-and-set, decides who was first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from roomful_nodes.calm import Calm
from roomful_nodes.registration import Registration
from roomful_nodes.view import TABLE, UP, View
from roomful_protocol.ids import NodeId, Partition
from roomful_rooms.clock import Clock
from roomful_rooms.directory import Conflict, Directory, Item, Unavailable
from roomful_rooms.host import RoomHost
from roomful_rooms.ownership import Gift, Table, claims, evened, given_away
from roomful_rooms.tasks import Tasks

AT_ONCE: Final = 4
"""Partitions whose rooms are being closed to be handed over: these hiccup, the rest does not."""
ROUND: Final = 16
"""Partitions given away to even out what nodes have to do, before it is looked at again."""
CLAIM_S: Final = 0.5
RETRY_S: Final = 0.05

log = structlog.get_logger()


class Placement:
    """Moves nothing while this node's lease, in `registration`, is not certain. `resync` has the
    view read again, as far as the broker answers."""

    def __init__(
        self,
        me: NodeId,
        directory: Directory,
        view: View,
        host: RoomHost,
        *,
        clock: Clock,
        tasks: Tasks,
        registration: Registration,
        resync: Callable[[], Awaitable[None]],
    ) -> None:
        self._me, self._directory, self._view, self._host = me, directory, view, host
        self._clock, self._tasks = clock, tasks
        self._registration, self._resync = registration, resync
        self._calm = Calm()
        self._moving: set[Partition] = set()
        self._wake = asyncio.Event()

    def look(self) -> None:
        """Something has changed in the view: see whether there is something to do."""
        self._calm.look(self._takers, self._view.nodes, self._clock.monotonic())
        self._wake.set()

    def assign(self) -> None:
        """Have the host serve what the table says."""
        table = self._view.table
        # What is being handed over is nobody's to serve until the table says whose it is.
        mine = {p: term for p, term in table.owned_by(self._me).items() if p not in self._moving}
        self._host.assign(mine, {p: table.leases[p].cost for p in mine})

    async def keep(self) -> None:
        """Take and hand over, until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self._place()
            except Unavailable:
                await asyncio.sleep(RETRY_S)
                await self._resync()
            else:
                # At the latest when a node, be it this one, renews its lease.
                await self._wake.wait()

    @property
    def _takers(self) -> dict[NodeId, float]:
        """The nodes that may be given something, and what they have to do as they last said."""
        takers = {id: node.cost for id, node in self._view.nodes.items() if node.state == UP}
        if self._draining:
            # The directory may not know yet.
            takers.pop(self._me, None)
        return takers

    @property
    def _draining(self) -> bool:
        return self._registration.me.state != UP

    async def _place(self) -> None:
        """Take and give away what is to be, now. Raises Unavailable."""
        await self._claim()
        if self._registration.held and (gifts := self._gifts()):
            await self._hand_over(gifts)

    async def _claim(self) -> None:
        """Take what nobody living owns. Others who follow the same node do so at the same time."""
        while self._registration.held and (claimed := self._claims()):
            if await self._wrote(self._view.table.given(claimed, self._me)):
                log.info("partitions.claimed", count=len(claimed))
            else:
                await asyncio.sleep(RETRY_S)

    def _claims(self) -> Sequence[Partition]:
        return claims(self._view.table, self._me, self._view.nodes, self._takers)

    def _gifts(self) -> Sequence[Gift]:
        mine, takers = self._host.costs, self._takers
        if self._draining:
            return given_away(mine, takers)
        revision = self._view.revision(TABLE)
        if not self._calm.holds(self._clock.monotonic()) or any(
            self._view.nodes[node].placed != revision for node in takers
        ):
            # Somebody's load is not what it said, as something has moved since: it will say.
            return ()
        return evened(self._me, mine, {**takers, self._me: sum(mine.values())})[:ROUND]

    # -- handing over ------------------------------------------------------------------------------

    async def _hand_over(self, gifts: Sequence[Gift]) -> None:
        """Close the rooms of a few partitions at a time; give each away as soon as that is done."""
        waiting, given = list(reversed(gifts)), list[Gift]()
        closing: dict[asyncio.Task[None], Gift] = {}
        costs = dict(self._host.costs)
        try:
            while self._fill(closing, waiting):
                # A room whose handler takes its time holds up neither the others nor a claim.
                done, _ = await asyncio.wait(
                    closing, timeout=CLAIM_S, return_when=asyncio.FIRST_COMPLETED
                )
                closed = [closing.pop(task) for task in done]
                await self._give(closed, costs)
                given += closed
                await self._claim()
        finally:
            # What was not given is still ours, as far as anybody knows: serve on, once closed.
            if closing:
                await asyncio.wait(closing)
            self._moving.clear()
            self.assign()
            if given:
                to = sorted({node for _, node in given})
                log.info("partitions.handed_over", count=len(given), to=to)

    def _fill(self, closing: dict[asyncio.Task[None], Gift], waiting: list[Gift]) -> bool:
        """Begin to close as many as may be closed at once; False if none is left."""
        while waiting and len(closing) < AT_ONCE:
            partition, node = waiting.pop()
            if node in self._takers and partition in self._host.costs:
                closing[self._release(partition)] = (partition, node)
        return bool(closing)

    def _release(self, partition: Partition) -> "asyncio.Task[None]":
        self._moving.add(partition)
        return self._tasks.start(self._host.release(partition), f"release {partition}")

    async def _give(self, gifts: Sequence[Gift], costs: Mapping[Partition, float]) -> None:
        """Write down that partitions are others' now. Their rooms are closed and people wait, so if
        somebody else was first with a change of the table, it is tried again at once."""
        while ours := set(self._view.table.owned_by(self._me)).intersection(p for p, _ in gifts):
            table = self._view.table
            for partition, node in gifts:
                if partition in ours:
                    table = table.given([partition], node, costs)
            await self._wrote(table)
        self._moving.difference_update(partition for partition, _ in gifts)

    async def _wrote(self, table: Table) -> bool:
        """Write it down; False if somebody else was first: then theirs is known. Raises
        Unavailable."""
        packed = table.packed()
        try:
            revision = await self._directory.put(TABLE, packed, self._view.revision(TABLE))
        except Conflict:
            await self._view.resync(self._directory)
            return False
        self._view.hear(Item(TABLE, packed, revision))
        return True
