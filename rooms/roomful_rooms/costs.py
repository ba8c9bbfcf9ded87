"""What a host's partitions cost: measured, and smoothed so that no short rush moves anything.

A partition costs 1 for being there, a tenth of that for each member in its rooms, and 1 for each
durable message a second.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp
from typing import Final

from roomful_protocol.ids import Partition, RoomName

LOOK_S: Final = 5.0
"""So often it is measured."""
MEMBER: Final = 0.1
MESSAGE_PER_S: Final = 1.0
SMOOTH_S: Final = 30.0
"""A change of what is measured counts in full after some of these, in seconds."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A room that runs, as far as its cost goes. `head`: its newest seq."""

    name: RoomName
    partition: Partition
    members: int
    head: int


class Costs:
    """`now` tells it of the partitions that were `expect`ed and not forgotten since."""

    def __init__(self) -> None:
        self.now: dict[Partition, float] = {}
        self._heads: dict[RoomName, int] = {}
        self._looked_at: float | None = None

    def expect(self, partition: Partition, cost: float) -> None:
        """A partition begins here; `cost` is what its last owner found."""
        self.now[partition] = cost

    def forget(self, partition: Partition) -> None:
        self.now.pop(partition, None)

    def due(self, at: float) -> bool:
        """Whether it is time to `look`, `at` this time of a monotonic clock."""
        return self._looked_at is None or at - self._looked_at >= LOOK_S

    def look(self, rooms: Iterable[Loaded], at: float) -> None:
        """Measure again."""
        passed = 0.0 if self._looked_at is None else at - self._looked_at
        self._looked_at = at
        measured = dict.fromkeys(self.now, 1.0)
        heads: dict[RoomName, int] = {}
        for room in rooms:
            if room.partition in measured:
                heads[room.name] = room.head
                # Of a room that was not here before, how fast it grows is not known yet.
                grown = max(0, room.head - self._heads.get(room.name, room.head))
                said = MESSAGE_PER_S * grown / passed if passed else 0.0
                measured[room.partition] += MEMBER * room.members + said
        self._heads = heads
        share = 1 - exp(-passed / SMOOTH_S)
        for partition, cost in measured.items():
            self.now[partition] += (cost - self.now[partition]) * share
