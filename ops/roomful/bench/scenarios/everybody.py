"""100 rooms of ten in which everybody speaks: who has heard all of a round says one thing more."""

from collections.abc import Iterator
from typing import Final

from roomful.bench.flood import Shape
from roomful.bench.measure import Reading
from roomful.bench.scenarios.fanout import on_and_off
from roomful.bench.subject import Bench

EVERYBODY: Final = Shape(1000, 100, 10, 10)


def once(bench: Bench) -> Iterator[Reading]:
    yield from on_and_off(bench, "100 rooms of 10, everybody speaks", EVERYBODY)
