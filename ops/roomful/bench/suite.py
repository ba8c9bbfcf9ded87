"""Scenarios, one after the other, each as often as it takes to have been quiet often enough."""

import os
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

from roomful.bench.measure import Figure, Reading, figures, settled
from roomful.bench.processes import LOAD_CORE, Unstarted, ahead
from roomful.bench.scenarios import SCENARIOS
from roomful.bench.subject import Bench
from roomful.bench.tools import Unusable
from roomful.bench.wire import Broken

FAILURES: Final = (Unstarted, Unusable, Broken, TimeoutError, ConnectionError)
"""What ends one attempt, and not the whole run."""


class Told:
    """What becomes known while scenarios run; whoever shows it overrides what it cares for."""

    def begins(self, name: str, attempt: int) -> None:
        """Attempt `attempt` of a scenario begins."""

    def ended(self, name: str) -> None:
        """There will be no more attempts of a scenario."""

    def read(self, reading: Reading) -> None:
        """Something has been measured."""

    def failed(self, name: str, problem: str) -> None:
        """An attempt, or all of a scenario, came to nothing."""


class Suite:
    """Runs scenarios. `repeats`: quiet readings wanted of each figure. `attempts`: how often a
    scenario runs for that, at most."""

    def __init__(self, bench: Bench, repeats: int, attempts: int) -> None:
        self._bench = bench
        self._repeats, self._attempts = repeats, attempts

    def run(self, names: Sequence[str], told: Told) -> tuple[list[Figure], list[str]]:
        """The figures of these scenarios; and the names of those that never ran to their end, or
        not as often as was wanted because of an interrupt."""
        _prepare()
        read: dict[str, list[Reading]] = {}
        whole: set[str] = set()
        left = list(names)
        # What was measured before Ctrl-C is not thrown away.
        with suppress(KeyboardInterrupt):
            while left:
                readings = read[left[0]] = []
                if self._read(left[0], readings, told):
                    whole.add(left[0])
                told.ended(left.pop(0))
        found = [figure for same in read.values() for figure in figures(same, self._repeats)]
        return found, [name for name in names if name in left or name not in whole]

    def _read(self, name: str, readings: list[Reading], told: Told) -> bool:
        """Until there are enough quiet readings of each figure. Whether any attempt has come to its
        end: else there are figures that nobody has seen."""
        whole = False
        for attempt in range(1, self._attempts + 1):
            if settled(readings, self._repeats):
                break
            told.begins(name, attempt)
            try:
                _collect(SCENARIOS[name].once(self._bench), readings, told.read)
                whole = True
            except FAILURES as problem:
                told.failed(name, repr(problem))
        return whole


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
