"""100 members hear messages at a steady rate: how long each takes to each of them.

Through the log, and past it.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from roomful.bench.closed_loop import percentiles_us
from roomful.bench.crowd import Crowd, Room
from roomful.bench.flood import JOINED, UPGRADED, Shape
from roomful.bench.measure import Reading
from roomful.bench.paced import Paced
from roomful.bench.processes import Server, Window
from roomful.bench.said import MARK, Numbered, numbered
from roomful.bench.scenarios.fanout import HEADER
from roomful.bench.subject import STEADY, Bench

MEMBERS: Final = Shape(100)
RATES: Final[Mapping[int, Mapping[str, float]]] = {10_000: {}, 500_000: {"bound": 1.5}}
"""Deliveries a second, and what their p99 is to stay below, ms."""


class Times(NamedTuple):
    """What each delivery took, in seconds, and the bytes of each message, with its head."""

    delays: list[float]
    window: Window
    size: int


def once(bench: Bench) -> Iterator[Reading]:
    for rate, bound in RATES.items():
        kept, passing = (_ours(bench, rate, numbered(kept=kept)) for kept in (True, False))
        with bench.relay(passing.size - HEADER) as server:
            beside = {"bare": _times(bench, server, rate, JOINED, numbered())}
        if bench.tools is not None:
            with bench.ceiling("tick") as server:
                beside["C tick"] = _times(bench, server, rate, UPGRADED, numbered())
        figure = f"{rate:,} deliveries/s"
        yield from _readings(figure, kept, beside, bound)
        yield from _readings(f"{figure}, log off", passing, beside, bound)


def _readings(
    figure: str, ours: Times, beside: Mapping[str, Times], bound: Mapping[str, float]
) -> Iterator[Reading]:
    """p50 and p99, and what they took of their core; of `bare`, too."""
    window = ours.window
    cores = {f"{part}_cores": used / window.seconds for part, used in window.by_part.items()}
    cores["bare_cores"] = beside["bare"].window.server_s / beside["bare"].window.seconds
    foreign = max(window.foreign, *(each.window.foreign for each in beside.values()), 0.0)
    ceilings = {name: percentiles_us(each.delays) for name, each in beside.items()}
    half, most = percentiles_us(ours.delays)
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
        running = Paced(crowd, room, frames)
        delays, window = running.run(rate / MEMBERS.members, bench.seconds, server.pids)
        return Times(delays, window, room.ear.size // room.ear.messages)
