"""A room out of its log: the newest snapshot, and the blocks after it."""

from dataclasses import dataclass, field

import structlog

from roomful_protocol.blocks import Block, Entry, Page
from roomful_protocol.codecs.stored import unpack_block, unpack_snapshot
from roomful_protocol.ids import RoomName
from roomful_rooms.ledger import Ledger
from roomful_rooms.log import Archive, Log, Record
from roomful_rooms.presence import Presence
from roomful_rooms.state import State

SNAPSHOT = "snap"
CHUNK = 256

log_ = structlog.get_logger()


@dataclass(slots=True)
class Recovered:
    """All of a room as its log has it at record `position`; `term` is the last writer's.

    `whole`: no record is missing; otherwise this is what is left, and no longer the same history.
    """

    position: int = 0
    term: int = 0
    epoch: str | None = None
    seq: int = 0
    blocks: int = 0
    whole: bool = True
    presence: Presence = field(default_factory=Presence)
    state: State = field(default_factory=State)
    ledger: Ledger = field(default_factory=Ledger)
    pages: tuple[Page, ...] = ()
    entries: list[Entry] = field(default_factory=list)

    def apply(self, block: Block, position: int) -> None:
        """Fold in the next block of the log."""
        if block.first != self.seq + 1:
            # What is read as one history must have no hole: it begins after it.
            self.whole, self.pages = False, ()
            self.entries.clear()
        self.position, self.term, self.epoch = position, block.term, block.epoch
        self.seq = block.last
        self.blocks += 1
        self.presence.apply(block.members)
        self.state.take(dict(block.state), block.removed)
        for done in block.done:
            self.ledger.record(done)
        self.entries += block.entries


async def recover(room: RoomName, log: Log, archive: Archive) -> Recovered:
    """Read `room` up to its newest record. Raises Unavailable, and ValueError for what is no
    record."""
    while True:
        recovered = await _from_snapshot(room, archive)
        # After the snapshot, which must not know of more than this. Of what is written from now on
        # the append that fences will know.
        newest = await log.last(room)
        while newest is not None and recovered.position < newest.position:
            records = await log.read(room, recovered.position, CHUNK)
            if not records:
                break
            for record in records:
                recovered.apply(unpack_block(record.data), record.position)
            newest = max(newest, records[-1], key=_position)
        # A read may lag behind the writer before us; the last record never does.
        if newest is None or newest.position <= recovered.position:
            _end_at(recovered, newest)
            if not recovered.whole:
                log_.error("room.log_hole", room=room, seq=recovered.seq)
            return recovered


def _position(record: Record) -> int:
    return record.position


def _end_at(recovered: Recovered, newest: Record | None) -> None:
    """Note where the log ends, and who wrote there: the snapshot does not say."""
    position = 0 if newest is None else newest.position
    if position < recovered.position:
        # The broker's disk has lost records that the snapshot still knows of.
        recovered.position, recovered.whole = position, False
    if newest is not None:
        recovered.term = unpack_block(newest.data).term


async def _from_snapshot(room: RoomName, archive: Archive) -> Recovered:
    blob = await archive.load(room, SNAPSHOT)
    if blob is None:
        return Recovered()
    snapshot = unpack_snapshot(blob)
    ledger = Ledger(snapshot.done)
    for member in snapshot.members:
        ledger.attach(member.session, member.attach)
    return Recovered(
        position=snapshot.position,
        epoch=snapshot.epoch,
        seq=snapshot.seq,
        presence=Presence(snapshot.members),
        state=State(dict(snapshot.state)),
        ledger=ledger,
        pages=snapshot.pages,
    )
