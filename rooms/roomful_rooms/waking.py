"""Rooms in which somebody is are started wherever they have gone, and again when they fail.

Members may have gone with their node, and reminders may be due: only a running room notices. A part
of the broker may be away while the rest is not, so nothing here waits for long in others' way.
"""

import asyncio
from collections.abc import Callable

import structlog

from roomful_protocol.codecs.stored import unpack_block
from roomful_protocol.ids import Partition, RoomName
from roomful_rooms.actor import RoomActor
from roomful_rooms.log import Log, Record, Unavailable
from roomful_rooms.tasks import Tasks

OPENING = 16
"""Rooms that are waited for at the same time."""
OPENING_S = 1.0
"""So long one of them is waited for: then others are opened, too."""
SEARCHING = 2
"""Partitions searched for rooms at the same time: rooms in which somebody waits come first."""
AGAIN_S = 0.5
"""Pause before what could not be woken is tried again."""

log_ = structlog.get_logger()


class Waking:
    """`term`: under which a partition is served here, None if it is not. `start` gives a room's
    actor, a new one if need be; None if it may not be started now."""

    def __init__(
        self,
        log: Log,
        tasks: Tasks,
        *,
        term: Callable[[Partition], int | None],
        start: Callable[[RoomName], RoomActor | None],
    ) -> None:
        self._log, self._tasks = log, tasks
        self._term, self._start = term, start
        self._opening, self._searching = asyncio.Semaphore(OPENING), asyncio.Semaphore(SEARCHING)

    def search(self, partition: Partition, term: int) -> None:
        """Have the rooms of `partition` started that have members."""
        self._tasks.start(self._wake(partition, term), f"wake {partition}")

    def rouse(self, room: RoomName, partition: Partition, term: int) -> None:
        """Have `room` started again, and again if it fails before it is open."""
        self._tasks.start(self._rouse([room], partition, term), f"rouse {room}")

    async def _wake(self, partition: Partition, term: int) -> None:
        records = await self._newest(partition, term)
        occupied = [record.room for record in records if _occupied(record)]
        await self._rouse(occupied, partition, term)

    async def _newest(self, partition: Partition, term: int) -> list[Record]:
        """The partition's rooms, asked for until the broker answers or the lease is gone."""
        while self._term(partition) == term:
            try:
                async with self._searching:
                    return await self._log.rooms(partition)
            except Unavailable:
                await asyncio.sleep(AGAIN_S)
        return []

    async def _rouse(self, rooms: list[RoomName], partition: Partition, term: int) -> None:
        """Start `rooms`, again and again where they fail, for as long as they are ours."""
        while True:
            rooms = [room for room in rooms if not await self._runs(room, partition, term)]
            if not rooms:
                return
            await asyncio.sleep(AGAIN_S)

    async def _runs(self, room: RoomName, partition: Partition, term: int) -> bool:
        """Start a room if need be: whether it runs, or need not."""
        async with self._opening:
            if self._term(partition) != term:
                return True
            actor = self._start(room)
            if actor is None:
                return False
            await asyncio.wait([actor.opening], timeout=OPENING_S)
            return actor.opening.done() and not actor.stopping


def _occupied(record: Record) -> bool:
    try:
        return unpack_block(record.data).count > 0
    except ValueError:
        # Its own start will say what is wrong with it, to whoever asks for it.
        log_.exception("room.unreadable", room=record.room)
        return False
