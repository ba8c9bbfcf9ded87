"""Seam: the ordered, durable records of rooms, and the archive of what has left the log.

The log decides who may write: an append names the record it comes after, and the log refuses it if
somebody else has written since. A node that was declared dead finds out here, not by a timer.
"""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from roomful_protocol.ids import Partition, RoomName


class Conflict(Exception):
    """The room's last record is not the one that the append came after: the writer is fenced."""


class Shortened(Conflict):
    """The log ends before that record: the broker has lost what it had acknowledged."""


class Unavailable(Exception):
    """The broker did not answer in time; for reads only, an append waits until it knows."""


class Record(Struct, frozen=True, gc=False):
    """One block as stored. `position` grows within a room but is not dense; it is never 0."""

    room: RoomName
    position: int
    data: bytes


class Following(Protocol):
    """A subscription; `close` may be called more than once."""

    async def close(self) -> None: ...


class Log(Protocol):
    """Records of rooms. Many tasks may call; per room there is one append at a time."""

    async def append(self, room: RoomName, data: bytes, after: int) -> int:
        """Write `data` as the record after position `after` (0: none yet); its position.

        Returns only when the outcome is known, however long the broker is away: `data` must be
        unique, so that after a lost acknowledgement the tail can be compared with it. Cancelling
        leaves the outcome unknown. Raises Conflict, and Shortened where that can be told.
        """
        ...

    def attempt(
        self, room: RoomName, data: bytes, after: int, told: Callable[[int | None], None]
    ) -> None:
        """Write `data` as `append` does, but only once, and with no task that waits for it.

        `told` is called once, now or later, with the position; or with None if that is not known:
        refused, lost, or acknowledged unheard. Then `append` of the same finds out. `told` must not
        raise.
        """
        ...

    async def last(self, room: RoomName) -> Record | None:
        """The newest record, read where writes are decided: never stale. Raises Unavailable."""
        ...

    async def read(self, room: RoomName, after: int, limit: int) -> list[Record]:
        """Up to `limit` records past position `after`, oldest first; fewer only at the end.

        May lag behind an append of another node by a moment. Raises Unavailable.
        """
        ...

    async def rooms(self, partition: Partition) -> list[Record]:
        """The newest record of each room that the partition has. Raises Unavailable."""
        ...

    async def follow(self, room: RoomName, heard: Callable[[Record], None]) -> Following:
        """Call `heard` with each committed record from now on, in order, at most once each.

        Records may be missing (never reordered): whoever follows checks the numbers in the blocks.
        """
        ...


class Archive(Protocol):
    """Blobs of rooms under keys of `[a-z0-9-]`: snapshots and packed pages of history.

    Size is limited by the disk only. A blob is replaced as a whole: a reader sees an old or a new
    one, never a mixture.
    """

    async def save(self, room: RoomName, key: str, blob: bytes) -> None:
        """Store, waiting for the broker as long as it takes."""
        ...

    async def load(self, room: RoomName, key: str, *, constant: bool = False) -> bytes | None:
        """The newest blob saved by anyone. Raises Unavailable.

        `constant`: what is saved under this key is always the same, so any copy of it will do.
        """
        ...

    async def discard(self, room: RoomName, key: str) -> None:
        """Forget; what is not there is no error. Raises Unavailable."""
        ...
