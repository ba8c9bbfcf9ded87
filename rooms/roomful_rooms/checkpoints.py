"""When a room's pages and snapshots are due, and their writing while the room goes on."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from math import ceil

import structlog
from msgspec.structs import replace

from roomful_protocol.blocks import Entry, Page, Snapshot
from roomful_protocol.codecs.stored import page_pieces, snapshot_pieces
from roomful_protocol.ids import RoomName
from roomful_rooms.clock import Clock
from roomful_rooms.log import Archive, Unavailable
from roomful_rooms.recent import Recent
from roomful_rooms.recovery import SNAPSHOT
from roomful_rooms.tasks import Tasks, end

CHECKPOINT_BLOCKS = 256
CHECKPOINT_BYTES = 1_000_000
"""Of events. A snapshot, with the ids that a room remembers, may take a third as much."""
PAGE_BYTES = 512_000
"""Whoever reads an event of the past loads the page that it is in: some so many bytes."""
OVERDUE = 8
"""Writing pauses when a snapshot is so many times overdue: the log keeps only some 4096 blocks of a
room, and what no page has is kept in memory."""

SLICE_S = 0.0005
"""So long packing goes on before all else on the loop has its turn."""

log = structlog.get_logger()


class Checkpoints:
    """The pages and snapshots of one activation of `room`; pages without the newest `keep` events
    are forgotten. One is written at a time."""

    def __init__(
        self, room: RoomName, archive: Archive, clock: Clock, tasks: Tasks, keep: int
    ) -> None:
        self._room, self._archive, self._clock = room, archive, clock
        self._tasks, self._keep = tasks, keep
        self._recent = Recent("", 0, ())
        self._writing: asyncio.Task[None] | None = None
        self._abandoned = False
        self.blocks = 0
        """Blocks of the log that the newest snapshot does not know of."""

    def begin(self, recent: Recent, blocks: int) -> None:
        """Take `recent` for the room's entries, `blocks` of the log past its last snapshot."""
        self._recent, self.blocks = recent, blocks

    def due(self, coming: int) -> bool:
        """Whether it is time, when a block of `coming` bytes is about to be written."""
        times, behind = OVERDUE if self.busy else 1, self._recent.unpaged_bytes + coming
        return self.blocks >= times * CHECKPOINT_BLOCKS or behind >= times * CHECKPOINT_BYTES

    @property
    def busy(self) -> bool:
        return self._writing is not None and not self._writing.done()

    async def start(self, snapshot: Snapshot, position: int) -> None:
        """Begin to write `snapshot`, the room as of record `position`, once the one before is."""
        await self.settled()
        if self._abandoned:
            return
        self.blocks = 0
        writing = self.write(snapshot, position)
        self._writing = self._tasks.start(writing, f"checkpoint {self._room}")

    async def settled(self) -> None:
        """Wait for what is being written."""
        if self._writing is not None and not self._writing.done():
            await asyncio.wait([self._writing])

    def abandon(self) -> None:
        """Write no further: the next owner may have written a newer snapshot by now."""
        self._abandoned = True
        end(self._writing)
        self._writing = None

    async def write(self, snapshot: Snapshot, position: int) -> None:
        """Pages first, then the snapshot that names them: a reader never misses an entry."""
        recent = self._recent
        unpaged = recent.unpaged(snapshot.seq)
        pages = ceil(recent.unpaged_bytes / PAGE_BYTES)
        for entries in _parts(unpaged, pages):
            page = Page(entries[0].seq, entries[-1].seq)
            await self._save(page.key, page_pieces(entries))
            recent.page_written(page)
        expired = recent.expired(self._keep)
        whole = replace(snapshot, position=position, pages=tuple(recent.pages))
        await self._save(SNAPSHOT, snapshot_pieces(whole))
        for page in expired:
            try:
                await self._archive.discard(self._room, page.key)
            except Unavailable:
                log.warning("room.page_not_discarded", room=self._room, first=page.first)
        log.debug("room.checkpoint", room=self._room, seq=whole.seq, pages=len(whole.pages))

    async def _save(self, key: str, pieces: Iterable[bytes]) -> None:
        """Pack and store, without keeping the loop from the room's members for long."""
        made, since = list[bytes](), self._clock.monotonic()
        for piece in pieces:
            made.append(piece)
            if self._clock.monotonic() - since > SLICE_S:
                await asyncio.sleep(0)
                since = self._clock.monotonic()
        await self._archive.save(self._room, key, b"".join(made))


def _parts(entries: Sequence[Entry], number: int) -> Iterator[Sequence[Entry]]:
    """`entries` in so many parts, of about as many each."""
    size = max(ceil(len(entries) / max(number, 1)), 1)
    for start in range(0, len(entries), size):
        yield entries[start : start + size]
