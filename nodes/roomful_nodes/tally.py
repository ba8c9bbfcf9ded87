"""What is counted for every single message, as cheaply as one thread can count.

prometheus-client takes a lock for each count, a microsecond and more; a node counts in the one
thread of its loop and is asked in it, so it needs none.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector


class Tally:
    """A count that only grows."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def inc(self, more: int = 1) -> None:
        self.count += more


class Tallies(Collector):
    """One metric made of tallies: one for each value of its `label`, or a single one without."""

    def __init__(
        self, name: str, text: str, tallies: Mapping[str, Tally], label: str | None = None
    ) -> None:
        self._name, self._text, self._tallies = name, text, tallies
        self._labels = [] if label is None else [label]

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for value, tally in self._tallies.items():
            family.add_metric([value] if self._labels else [], tally.count)
        yield family


class Latencies(Collector):
    """How often something took how long, by upper `bounds` in seconds."""

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self._name, self._text, self._bounds = name, text, bounds
        self._counts = [0] * (len(bounds) + 1)
        self._seconds = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._seconds += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        bounds = [*map(str, map(float, self._bounds)), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(self._counts)), strict=True))
        yield HistogramMetricFamily(
            self._name, self._text, buckets=buckets, sum_value=self._seconds
        )
