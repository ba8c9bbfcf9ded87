"""Memory twins of log and archive: for tests and simulation, several nodes on one `LogStore`."""

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable
from functools import partial
from itertools import count

from roomful_protocol.ids import Partition, RoomName, partition_of
from roomful_rooms.log import Conflict, Record, Shortened
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
        """Store and announce, unless it has been before. Raises Conflict and Shortened."""
        records = self.records[room]
        newest = records[-1].position if records else 0
        if newest < after:
            raise Shortened(f"{room}: the newest record is {newest}, before {after}")
        if newest != after:
            found = next(iter(self.read(room, after, 1)), None)
            if found is not None and found.data == data:
                return found.position
            raise Conflict(f"{room}: the newest record is {newest}, not {after}")
        record = Record(room, next(self._positions), data)
        records.append(record)
        for follower in self.followers.get(room, ()):
            follower.tell(record)
        return record.position

    def attempt(self, room: RoomName, data: bytes, after: int) -> int | None:
        """`append`; None if it is refused."""
        try:
            return self.append(room, data, after)
        except Conflict:
            return None

    def last(self, room: RoomName) -> Record | None:
        records = self.records.get(room)
        return records[-1] if records else None

    def read(self, room: RoomName, after: int, limit: int) -> list[Record]:
        records = list(self.records.get(room, ()))
        start = bisect_right(records, after, key=lambda record: record.position)
        return records[start : start + limit]

    def rooms(self, partition: Partition) -> list[Record]:
        return [
            records[-1]
            for room, records in self.records.items()
            if records and partition_of(room) == partition
        ]

    def follow(self, room: RoomName, listener: Listener[Record]) -> None:
        if listener not in self.followers[room]:
            self.followers[room].append(listener)


class MemoryLog:
    """One node's `Log` on a shared store. `followed` is the link over which events come; none: the
    same."""

    def __init__(
        self, store: LogStore, link: Link | None = None, followed: Link | None = None
    ) -> None:
        self._store = store
        self._link = link or Link()
        self._followed = followed or self._link

    def attempt(
        self, room: RoomName, data: bytes, after: int, told: Callable[[int | None], None]
    ) -> None:
        self._link.attempt(partial(self._store.attempt, room, data, after), told)

    async def append(self, room: RoomName, data: bytes, after: int) -> int:
        # Repeating is safe: the store knows its own bytes again.
        return await self._link.insist(partial(self._store.append, room, data, after))

    async def last(self, room: RoomName) -> Record | None:
        return await self._link.ask(partial(self._store.last, room))

    async def read(self, room: RoomName, after: int, limit: int) -> list[Record]:
        return await self._link.ask(partial(self._store.read, room, after, limit))

    async def rooms(self, partition: Partition) -> list[Record]:
        return await self._link.ask(partial(self._store.rooms, partition))

    async def follow(self, room: RoomName, heard: Callable[[Record], None]) -> Listener[Record]:
        followers = self._store.followers[room]
        listener = Listener(self._followed, heard, lambda: followers.remove(listener))
        await self._followed.insist(partial(self._store.follow, room, listener))
        return listener


class MemoryArchive:
    """One node's `Archive` on a shared store."""

    def __init__(self, store: LogStore, link: Link | None = None) -> None:
        self._blobs = store.blobs
        self._link = link or Link()

    async def save(self, room: RoomName, key: str, blob: bytes) -> None:
        await self._link.insist(partial(self._blobs.__setitem__, (room, key), blob))

    async def load(self, room: RoomName, key: str, *, constant: bool = False) -> bytes | None:
        return await self._link.ask(partial(self._blobs.get, (room, key)))

    async def discard(self, room: RoomName, key: str) -> None:
        await self._link.ask(partial(self._blobs.pop, (room, key), None))
