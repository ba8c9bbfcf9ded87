"""Two results side by side: what has become faster, and what is only the machine's mood."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from roomful.bench.measure import Figure

SMALL: Final = 0.03
"""A change below this part means nothing, however little the repeats differ."""


@dataclass(frozen=True, slots=True)
class Change:
    """One number of two results: a figure's value, a ratio to a ceiling, or something seen beside.

    `sure`: the change is larger than the repeats of either result differ among themselves.
    """

    figure: str
    what: str
    before: float
    after: float
    sure: bool

    @property
    def part(self) -> float:
        """By what part it has changed: 0.1 is a tenth more."""
        return self.after / self.before - 1 if self.before else 0.0


def compared(before: Iterable[Figure], after: Iterable[Figure]) -> list[Change]:
    """The changes of what both have measured, in the order of `after`."""
    earlier = {figure.figure: figure for figure in before}
    return [
        change
        for figure in after
        if figure.figure in earlier
        for change in _changes(earlier[figure.figure], figure)
    ]


def _changes(before: Figure, after: Figure) -> Iterable[Change]:
    # Of one repeat alone nobody knows what the next would have been.
    once = min(len(before.samples), len(after.samples)) == 1
    doubt = math.inf if once else max(before.spread, after.spread, SMALL)
    pairs = [(after.unit, before.value, after.value)]
    pairs += [
        (f"/ {name}", before.ceilings[name].ratio, ceiling.ratio)
        for name, ceiling in after.ceilings.items()
        if name in before.ceilings
    ]
    pairs += [
        (name, before.details[name], value)
        for name, value in after.details.items()
        if name in before.details
    ]
    for what, old, new in pairs:
        yield Change(after.figure, what, old, new, bool(old) and abs(new / old - 1) > doubt)
