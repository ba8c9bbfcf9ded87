"""100 members hear messages at a steady rate: how long each takes to each of them.

Through the log, and past it.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from roomful.bench.closed_loop import percentiles_us
from roomful.bench.crowd import Crowd, Room
from roomful.bench.flood import JOINED, UPGRADED, Shape
from roomful.bench.measure import Reading
from roomful.bench.paced import Paced
from roomful.bench.processes import Server, Window
from roomful.bench.said import MARK, Numbered, numbered
from roomful.bench.subject import STEADY, Bench

MEMBERS: Final = Shape(100)
RATES: Final[Mapping[int, Mapping[str, float]]] = {10_000: {}, 500_000: {"bound": 1.5}}
"""Deliveries a second, and what their p99 is to stay below, ms."""

Times = tuple[list[float], Window]


def once(bench: Bench) -> Iterator[Reading]:
    for rate, bound in RATES.items():
        kept, passing = (_ours(bench, rate, numbered(kept=kept)) for kept in (True, False))
        beside = {}
        if bench.tools is not None:
            with bench.ceiling("tick") as server:
                beside["C tick"] = _times(bench, server, rate, UPGRADED, numbered())
        figure = f"{rate:,} deliveries/s"
        yield from _readings(figure, kept, beside, bound)
        yield from _readings(f"{figure}, log off", passing, beside, bound)


def _readings(
    figure: str, ours: Times, beside: Mapping[str, Times], bound: Mapping[str, float]
) -> Iterator[Reading]:
    """p50 and p99, and what they took of their core."""
    times, window = ours
    cores = {f"{part}_cores": used / window.seconds for part, used in window.by_part.items()}
    foreign = max(window.foreign, *(used.foreign for _, used in beside.values()), 0.0)
    ceilings = {name: percentiles_us(times) for name, (times, _) in beside.items()}
    half, most = percentiles_us(times)
    p50s, p99s = ({name: us[index] / 1000 for name, us in ceilings.items()} for index in (0, 1))
    yield Reading(f"{figure}, p50", "ms", half / 1000, p50s, foreign)
    yield Reading(f"{figure}, p99", "ms", most / 1000, {**p99s, **bound}, foreign, cores)


def _ours(bench: Bench, rate: int, frames: Numbered) -> Times:
    with bench.node(None, *STEADY) as node:
        return _times(bench, node, rate, JOINED, frames)


def _times(bench: Bench, server: Server, rate: int, until: bytes, frames: Numbered) -> Times:
    with Crowd.gathering() as crowd:
        room = Room(crowd.enter(server.port, MEMBERS.paths(), until), MARK)
        crowd.settle()
        return Paced(crowd, room, frames).run(rate / MEMBERS.members, bench.seconds, server.pids)
