"""A node's way out of the cluster: its rooms go to others, then its clients are asked to leave.

Begun by whoever ends the process, or by an operator's order. Others see how far it is in the
directory.
"""

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from roomful_nodes.cluster import Cluster
from roomful_nodes.departure import Departure
from roomful_nodes.view import DRAINED, DRAINING
from roomful_rooms.clock import Clock
from roomful_rooms.directory import Conflict, Unavailable
from roomful_rooms.tasks import Tasks

PROGRESS_S: Final = 1.0
STUCK_S: Final = 10.0
"""If no partition finds a new owner for so many seconds, clients are sent away all the same: the
rooms pass on when this node has gone."""

log = structlog.get_logger()


class Drain:
    """Happens once in a node's life, and has begun when `leaving` is set. `cluster` moves the
    rooms, `departure` the clients."""

    def __init__(
        self, cluster: Cluster, departure: Departure, *, clock: Clock, tasks: Tasks
    ) -> None:
        self.leaving = asyncio.Event()
        self._cluster, self._departure = cluster, departure
        self._clock, self._tasks = clock, tasks
        self._running: asyncio.Task[None] | None = None
        self._window_s = 0.0
        self._news = asyncio.Event()
        # Partitions when the hand-over began, and when that was.
        self._begun = (0, 0.0)

    @property
    def state(self) -> str | None:
        """Whether this node is draining or drained; None if it is neither."""
        if self._running is None:
            return None
        return DRAINED if self._running.done() else DRAINING

    @property
    def left_s(self) -> float:
        """About how many seconds are left."""
        if self._departure.begun:
            return self._departure.left_s
        partitions, since = self._begun
        moved = partitions - self._cluster.owned
        spent = self._clock.monotonic() - since
        rooms_s = self._cluster.owned * spent / moved if moved else 0.0
        return rooms_s + self._departure.needed_s(self._window_s)

    def begin(self, window_s: float) -> "asyncio.Task[None]":
        """Drain, spreading clients over `window_s` seconds at least; if that has begun already, let
        it end no later than that would."""
        if self._running is None:
            self.leaving.set()
            self._window_s = window_s
            self._running = self._tasks.start(self._run(), "drain")
        elif window_s < self._window_s:
            self._window_s = window_s
            self._departure.hasten(window_s)
        return self._running

    def look(self) -> None:
        """Something has changed in the cluster."""
        self._news.set()

    async def _run(self) -> None:
        started = self._clock.monotonic()
        self._begun = (self._cluster.owned, started)
        log.info("node.draining", connections=len(self._departure), window_s=self._window_s)
        await self._tell(DRAINING)
        telling = self._tasks.start(self._keep_told(), "progress")
        try:
            await self._hand_over()
            await self._departure.run(self._window_s)
        finally:
            telling.cancel()
        await self._tell(DRAINED)
        log.info("node.drained", seconds=round(self._clock.monotonic() - started, 1))

    async def _hand_over(self) -> None:
        """Until this node owns nothing; without others to take it, whoever comes will claim it."""
        left, moved_at = self._cluster.owned, self._clock.monotonic()
        while left and self._cluster.takers:
            patience = moved_at + STUCK_S - self._clock.monotonic()
            if patience <= 0:
                log.warning("node.hand_over_stuck", partitions=left)
                return
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._news.wait()
            if self._cluster.owned < left:
                left, moved_at = self._cluster.owned, self._clock.monotonic()

    async def _keep_told(self) -> None:
        while await asyncio.sleep(PROGRESS_S, result=True):
            log.info(
                "node.drain_progress", partitions=self._cluster.owned,
                connections=len(self._departure), left_s=round(self.left_s, 1),
            )  # fmt: skip
            await self._tell(DRAINING)

    async def _tell(self, state: str) -> None:
        left_s = None if state == DRAINED else round(self.left_s, 1)
        try:
            await self._cluster.tell(state, left_s)
        except (Conflict, Unavailable) as problem:
            # The next renewal tells it.
            log.warning("node.drain_untold", reason=str(problem))
