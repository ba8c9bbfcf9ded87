"""What connections cost that only listen, in rooms of ten; and how fast they come."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from roomful.bench.crowd import Crowd
from roomful.bench.flood import JOINED, UPGRADED, Shape
from roomful.bench.measure import Reading
from roomful.bench.processes import Server, Window, allow_files, rss_kb
from roomful.bench.subject import Bench
from roomful.bench.wire import Broken
from roomful_nodes.gateway import BEATS

CONNECTIONS: Final = 10_000
PER_ROOM: Final = 10
BOUND_KB: Final = 20.0
HEARTBEAT_S: Final = 25.0
"""As nodes have it, if they are not told otherwise."""
BOUND_CORES: Final = 0.03
TARGET_PER_S: Final = 3000.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """`per_s`: clients that connected and joined; `memory_kb`: by what the node has grown."""

    per_s: float
    memory_kb: float
    window: Window


def once(bench: Bench) -> Iterator[Reading]:
    allow_files(CONNECTIONS + 1000)
    shape = Shape(CONNECTIONS, CONNECTIONS // PER_ROOM)
    with bench.node(None, "--heartbeat-s", f"{HEARTBEAT_S:g}") as node, Crowd.gathering() as crowd:
        ours = _arrived(crowd, node, shape.paths(), JOINED)
        with Window([node.pid]) as idle:
            # By then each client has been pinged once, and none twice.
            pings = crowd.stay(HEARTBEAT_S * (1 + 1 / BEATS))
    if pings < CONNECTIONS:
        raise Broken(f"of {CONNECTIONS} clients {pings} were asked for a sign of life")
    with bench.aiohttp_alone() as server, Crowd.gathering() as crowd:
        alone = _arrived(crowd, server, shape.paths(), UPGRADED)
    ceilings = {"target": TARGET_PER_S, "aiohttp alone": alone.per_s}
    memory = {"bound": BOUND_KB, "aiohttp alone": alone.memory_kb / CONNECTIONS}
    if bench.tools is not None:
        with bench.ceiling("tick") as server, Crowd.gathering() as crowd:
            bare = _arrived(crowd, server, shape.bare_paths(), UPGRADED)
        ceilings["C, no rooms kept"] = bare.per_s
    foreign = ours.window.foreign
    each = {
        f"{part}_cpu_us_each": used * 1e6 / CONNECTIONS
        for part, used in ours.window.by_part.items()
    }
    busy = ours.window.server_s / ours.window.seconds
    yield Reading("connections with a join", "/s", ours.per_s, ceilings, foreign, each, busy=busy)
    kb = ours.memory_kb / CONNECTIONS
    yield Reading("an idle connection, memory", "kB", kb, memory, foreign)
    cores, heard = idle.server_s / HEARTBEAT_S, {"pings": float(pings)}
    bound = {"bound": BOUND_CORES}
    yield Reading("heartbeats", "cores", cores, bound, idle.foreign, heard)


def _arrived(crowd: Crowd, server: Server, paths: Iterable[str], until: bytes) -> Arrival:
    before = rss_kb(server.pid)
    with Window(server.pids) as window:
        began = time.perf_counter()
        crowd.enter(server.port, paths, until)
        took = time.perf_counter() - began
    crowd.settle()
    return Arrival(CONNECTIONS / took, rss_kb(server.pid) - before, window)
