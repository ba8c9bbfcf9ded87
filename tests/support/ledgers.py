"""A ledger by way of the archive, as the next owner of its room has it."""

from collections.abc import Container

from roomful_protocol.blocks import Done, Snapshot
from roomful_protocol.codecs.stored import snapshot_pieces, unpack_snapshot
from roomful_rooms.ledger import Ledger


def stored(ledger: Ledger, members: Container[str]) -> tuple[Done, ...]:
    """What a snapshot of a room with these sessions keeps of its ledger."""
    kept = ledger.kept(members)
    snapshot = Snapshot(1, "e1", 0, 0, (), (), {}, done=kept.numbered, known=kept.known)
    return unpack_snapshot(b"".join(snapshot_pieces(snapshot))).done


def restored(ledger: Ledger, members: Container[str]) -> Ledger:
    return Ledger(stored(ledger, members))
