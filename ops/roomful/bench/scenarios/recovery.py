"""500 clients come back at once, 20,000 events behind each: how fast they have them all."""

import time
from collections.abc import Iterator
from itertools import repeat
from typing import Final

from roomful.bench.crowd import Crowd
from roomful.bench.flood import UPGRADED
from roomful.bench.measure import Reading
from roomful.bench.processes import Server, Window, rss_kb
from roomful.bench.running import run
from roomful.bench.scenarios.catchup import MISSED, filled
from roomful.bench.subject import Bench
from roomful.bench.talk import Json

CLIENTS: Final = 500
WITHIN_S: Final = 150.0
BOUND_PER_S: Final = 200_000.0
"""What one core is to give returning clients, from memory or pages."""
_MARK: Final = b'"type":"chat.message"'


def once(bench: Bench) -> Iterator[Reading]:
    with bench.node() as node:
        seen = run(filled(node.port))
        before = rss_kb(node.pid)
        with Crowd.gathering() as crowd, Window(node.pids) as window:
            took = _caught_up(crowd, node, seen)
        grown = rss_kb(node.pid) - before
    events = CLIENTS * MISSED
    details = {
        f"{part}_cpu_us_per_event": used / events * 1e6 for part, used in window.by_part.items()
    } | {"node_memory_grown_mb": grown / 1024, "load_busy": 1 - crowd.waited_s / window.seconds}
    figure = f"catch-up of {MISSED:,} events by {CLIENTS} clients at once"
    beside = {"bound": BOUND_PER_S}
    busy = window.server_s / window.seconds
    yield Reading(
        figure, "events/s", events / took, beside, window.foreign, details, busy=busy
    )  # fmt: skip


def _caught_up(crowd: Crowd, node: Server, seen: Json) -> float:
    """Seconds from the first connection to the last event of the last client."""
    path = f"/ws?room=past&since={seen['seq']}&epoch={seen['epoch']}"
    began = time.perf_counter()
    lines = crowd.enter(node.port, repeat(path, CLIENTS), UPGRADED, _MARK)
    behind = lines
    while behind := [line for line in behind if line.ear and line.ear.messages < MISSED]:
        crowd.hear()
        if time.perf_counter() - began > WITHIN_S:
            raise TimeoutError(f"{len(behind)} of {CLIENTS} clients have not caught up")
    return time.perf_counter() - began
