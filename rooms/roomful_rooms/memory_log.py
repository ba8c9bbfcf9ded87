"""Memory twins of log and archive: for tests and simulation, several nodes on one `LogStore`."""

from asyncio import sleep
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable
from itertools import count

from roomful_protocol.ids import Partition, RoomName, partition_of
from roomful_rooms.log import Conflict, Record
from roomful_rooms.memory_link import Link, Listener

KEPT = 4096
"""Records that a room's log keeps, as in the broker's streams: older ones are gone."""


class LogStore:
    """What the broker holds: the records and blobs of all rooms, and who follows which room."""

    def __init__(self, kept: int = KEPT) -> None:
        self.records: defaultdict[RoomName, deque[Record]] = defaultdict(lambda: deque(maxlen=kept))
        self.blobs: dict[tuple[RoomName, str], bytes] = {}
        self.followers: defaultdict[RoomName, list[Listener[Record]]] = defaultdict(list)
        self._positions = count(1)

    def append(self, room: RoomName, data: bytes, after: int) -> int:
        """Store and announce. Raises Conflict."""
        records = self.records[room]
        newest = records[-1].position if records else 0
        if newest != after:
            raise Conflict(f"{room}: the newest record is {newest}, not {after}")
        record = Record(room, next(self._positions), data)
        records.append(record)
        for follower in self.followers.get(room, ()):
            follower.tell(record)
        return record.position


class MemoryLog:
    """One node's `Log` on a shared store."""

    def __init__(self, store: LogStore, link: Link | None = None) -> None:
        self._store = store
        self._link = link or Link()

    async def append(self, room: RoomName, data: bytes, after: int) -> int:
        await self._link.wait()
        position = self._store.append(room, data, after)
        # The acknowledgement comes a turn later, as followers hear the record before it.
        await sleep(0)
        await self._link.wait()
        return position

    async def last(self, room: RoomName) -> Record | None:
        await self._answered()
        records = self._store.records.get(room)
        return records[-1] if records else None

    async def read(self, room: RoomName, after: int, limit: int) -> list[Record]:
        await self._answered()
        records = list(self._store.records.get(room, ()))
        start = bisect_right(records, after, key=lambda record: record.position)
        return records[start : start + limit]

    async def rooms(self, partition: Partition) -> list[Record]:
        await self._answered()
        return [
            records[-1]
            for room, records in self._store.records.items()
            if records and partition_of(room) == partition
        ]

    async def follow(self, room: RoomName, heard: Callable[[Record], None]) -> Listener[Record]:
        followers = self._store.followers[room]
        listener = Listener(self._link, heard, lambda: followers.remove(listener))
        followers.append(listener)
        await sleep(0)
        return listener

    async def _answered(self) -> None:
        await sleep(0)
        self._link.require()


class MemoryArchive:
    """One node's `Archive` on a shared store."""

    def __init__(self, store: LogStore, link: Link | None = None) -> None:
        self._blobs = store.blobs
        self._link = link or Link()

    async def save(self, room: RoomName, key: str, blob: bytes) -> None:
        await sleep(0)
        await self._link.wait()
        self._blobs[room, key] = blob

    async def load(self, room: RoomName, key: str) -> bytes | None:
        await sleep(0)
        self._link.require()
        return self._blobs.get((room, key))

    async def discard(self, room: RoomName, key: str) -> None:
        await sleep(0)
        self._link.require()
        self._blobs.pop((room, key), None)
