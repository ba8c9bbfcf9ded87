"""One seed, one history: a cluster with its clients from start to end, and the verdict on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, NoReturn

import pytest
import structlog
from tests.simulation.faults import Faults
from tests.simulation.world import World

from roomful.check.evidence import Violation
from roomful_nodes import catchup, feed, ring
from roomful_rooms import checkpoints, recent

TALK_S: Final = 10.0
PATIENCE_S: Final = 40.0
"""After so long without faults, whatever is still open will stay so."""
_EXPECTED: Final = "room.handler_failed"
"""The error that nodes may log: of handlers that fail on purpose."""


_SMALL: Final = (
    (checkpoints, "CHECKPOINT_BLOCKS", 10), (recent, "KEPT", 12), (ring, "KEPT", 12),
    (feed, "CHUNK", 5), (catchup, "CHUNK", 5),
)  # fmt: skip
"""Bounds so low that a short history goes past them: pages, snapshots and chunks are made."""


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a seed. `complaints` are errors that nodes have logged, or tasks raised."""

    seed: int
    violations: tuple[Violation, ...]
    complaints: tuple[str, ...]
    counts: dict[str, int]
    digest: str

    @property
    def problems(self) -> list[str]:
        rules = [f"{one.rule}: {one.sentence}" for one in self.violations]
        return [*rules, *self.complaints]


def simulate(seed: int) -> Told:
    """Play the history of `seed`."""
    with _complaints() as complaints, pytest.MonkeyPatch.context() as patch:
        for module, bound, value in _SMALL:
            patch.setattr(module, bound, value)
        world = World(seed)
        try:
            faults = Faults(world)
            world.timeline.run(TALK_S)
            faults.stop()
            world.timeline.run(faults.well_at - world.timeline.now)
            world.settle(PATIENCE_S)
            verdict = world.verdict()
        finally:
            world.close()
    complaints += [failure for loop in world.loops for failure in loop.failures]
    return Told(seed, verdict.violations, tuple(complaints), verdict.counts, _digest(world))


def _digest(world: World) -> str:
    """Equal for equal histories: all that was written, and all that clients were told."""
    told = sha256()
    for room, records in sorted(world.log.written.items()):
        told.update(f"{room} {records}".encode())
    for visitor in world.guests.visitors:
        for event in visitor.recorder.events:
            # Hashes differ from process to process; what is hashed is in the log.
            told.update(f"{visitor.name} {type(event).__name__} {event.at}".encode())
    return told.hexdigest()


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What nodes log as an error meanwhile; nothing of it is printed."""
    found: list[str] = []

    def note(_: object, method: str, event: Any) -> NoReturn:
        if event["event"] != _EXPECTED:
            found.append(f"{method} {event}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[note], wrapper_class=structlog.make_filtering_bound_logger("error")
    )
    try:
        yield found
    finally:
        structlog.configure(**before)
