"""The epochs of rooms: within one, a number names one event for ever.

A log that was acknowledged may still lose its end: a broker's machine loses power, or somebody puts
an old store back. Then numbers that clients have seen are given to other events. Whoever can know
that begins a new epoch, so that clients are told, instead of taking the one for the other.
"""

from typing import Final

from roomful_protocol.ids import RoomName
from roomful_rooms.clock import NewId
from roomful_rooms.recovery import Recovered

JOINT: Final = "-"
"""Between the epoch's own name and that of the store's incarnation."""


class Epochs:
    """What one node knows of epochs. `incarnation` names what the broker's store has become since
    it last may have forgotten something; "" if that never was or nobody knows."""

    def __init__(self, new_id: NewId, incarnation: str = "") -> None:
        self._new_id, self._incarnation = new_id, incarnation
        self._shortened: set[RoomName] = set()

    def of(self, room: RoomName, held: Recovered) -> str:
        """The epoch in which `room` goes on: that of its log, unless it is no longer the same."""
        if held.epoch and held.whole and self._known(room, held.epoch):
            return held.epoch
        fresh = self._new_id()[:8]
        return f"{fresh}{JOINT}{self._incarnation}" if self._incarnation else fresh

    def _known(self, room: RoomName, epoch: str) -> bool:
        same = epoch.partition(JOINT)[2] == self._incarnation
        return same and room not in self._shortened

    def shortened(self, room: RoomName) -> None:
        """The log of `room` has lost records that this node knows of."""
        self._shortened.add(room)

    def begun(self, room: RoomName) -> None:
        """The log of `room` says in which epoch it is."""
        self._shortened.discard(room)
