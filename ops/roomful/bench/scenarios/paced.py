"""100 members hear messages at a steady rate: how long each takes to each of them."""

from collections.abc import Iterator, Mapping
from typing import Final

from roomful.bench.closed_loop import percentiles_us
from roomful.bench.crowd import Crowd, Room
from roomful.bench.flood import JOINED, UPGRADED, Shape
from roomful.bench.measure import Reading
from roomful.bench.paced import Paced
from roomful.bench.processes import Server, Window
from roomful.bench.said import MARK
from roomful.bench.subject import STEADY, Bench

MEMBERS: Final = Shape(100)
RATES: Final[Mapping[int, Mapping[str, float]]] = {10_000: {}, 500_000: {"bound": 1.5}}
"""Deliveries a second, and what their p99 is to stay below, ms."""

Times = tuple[list[float], Window]


def once(bench: Bench) -> Iterator[Reading]:
    for rate, bound in RATES.items():
        yield from _read(bench, rate, bound)


def _read(bench: Bench, rate: int, bound: Mapping[str, float]) -> Iterator[Reading]:
    with bench.node(None, *STEADY) as node:
        ours, window = _times(bench, node, rate, JOINED)
    ceilings = {}
    if bench.tools is not None:
        with bench.ceiling("tick") as server:
            ceilings["C tick"] = _times(bench, server, rate, UPGRADED)
    cores = {f"{part}_cores": used / window.seconds for part, used in window.by_part.items()}
    foreign = max(window.foreign, *(used.foreign for _, used in ceilings.values()), 0.0)
    p50s, p99s = (
        {name: percentiles_us(times)[index] / 1000 for name, (times, _) in ceilings.items()}
        for index in (0, 1)
    )
    half, most = (us / 1000 for us in percentiles_us(ours))
    figure = f"{rate:,} deliveries/s"
    yield Reading(f"{figure}, p50", "ms", half, p50s, foreign)
    yield Reading(f"{figure}, p99", "ms", most, {**p99s, **bound}, foreign, cores)


def _times(bench: Bench, server: Server, rate: int, until: bytes) -> Times:
    with Crowd.gathering() as crowd:
        room = Room(crowd.enter(server.port, MEMBERS.paths(), until), MARK)
        crowd.settle()
        return Paced(crowd, room).run(rate / MEMBERS.members, bench.seconds, server.pids)
