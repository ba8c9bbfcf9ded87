"""Scenarios, one after the other, each as often as it takes to have been quiet often enough."""

import os
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

from roomful.bench.measure import Figure, Reading, figures, settled
from roomful.bench.processes import LOAD_CORE, Unstarted, ahead
from roomful.bench.scenarios import SCENARIOS, Scenario
from roomful.bench.subject import Bench
from roomful.bench.tools import Unusable
from roomful.bench.wire import Broken

FAILURES: Final = (Unstarted, Unusable, Broken, TimeoutError, ConnectionError)
"""What ends one attempt, and not the whole run."""


class Told:
    """What becomes known while scenarios run; whoever shows it overrides what it cares for."""

    def begins(self, name: str, attempt: int) -> None:
        """Attempt `attempt`, of at most twice as many as wanted, of a scenario begins."""

    def ended(self, name: str) -> None:
        """There will be no more attempts of a scenario."""

    def read(self, reading: Reading) -> None:
        """Something has been measured."""

    def failed(self, name: str, problem: str) -> None:
        """An attempt, or all of a scenario, came to nothing."""


class Suite:
    """Runs scenarios. `repeats`: quiet readings wanted of each figure."""

    def __init__(self, bench: Bench, repeats: int) -> None:
        self._bench = bench
        self.repeats = repeats

    def run(self, names: Iterable[str], told: Told) -> tuple[list[Figure], list[str]]:
        """The figures of these scenarios; and the names of those that gave none."""
        _prepare()
        found: list[Figure] = []
        failed: list[str] = []
        for name in names:
            readings = self._readings(name, SCENARIOS[name], told)
            told.ended(name)
            found += figures(readings, self.repeats)
            if not readings:
                failed.append(name)
        return found, failed

    def _readings(self, name: str, scenario: Scenario, told: Told) -> Sequence[Reading]:
        """Until there are `repeats` quiet readings of each figure, or twice as many of any."""
        readings: list[Reading] = []
        for attempt in range(1, 2 * self.repeats + 1):
            if settled(readings, self.repeats):
                break
            told.begins(name, attempt)
            try:
                _collect(scenario.once(self._bench), readings, told.read)
            except FAILURES as problem:
                told.failed(name, repr(problem))
        return readings


def _collect(
    found: Iterable[Reading], readings: list[Reading], told: Callable[[Reading], None]
) -> None:
    """Keep what was read before a failure, too."""
    for reading in found:
        readings.append(reading)
        told(reading)


def _prepare() -> None:
    """Onto the load's core; ahead of others, where that is allowed and the session our own."""
    # What was started is stopped then, too: as by Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.sched_setaffinity(0, {LOAD_CORE})
    with suppress(OSError):
        os.nice(-15)
    with suppress(OSError):
        os.setsid()
        ahead(os.getpid())
