"""Connections come and go, and vanish without a word: does the node's memory stay what it was?"""

from collections.abc import Iterator
from typing import Final

from roomful.bench.crowd import Crowd
from roomful.bench.flood import JOINED, Shape
from roomful.bench.measure import Reading
from roomful.bench.processes import Server, Window, rss_kb
from roomful.bench.subject import Bench

ONE_WAVE: Final = 500
ROOMS: Final = 50
WARM_WAVES: Final = 96
"""Until each room has heard of more comings and goings than it keeps in memory, and as many who
have left are remembered as ever are: twice the time that this takes."""
WAVES: Final = 40
"""20,000 connections."""
TIMEOUT_S: Final = 2.0
"""How long a command is retried: three times as long a room remembers what those have asked who
have left it, or up to twice that."""
GRACE_S: Final = 1.0
"""After it, who has vanished has left: it is forgotten, as far as it ever will be."""
BOUND: Final = 1.05


def once(bench: Bench) -> Iterator[Reading]:
    with (
        bench.node(
            None, "--grace-s", f"{GRACE_S:g}", "--request-timeout-s", f"{TIMEOUT_S:g}"
        ) as node,
        Crowd.gathering() as crowd,
        Window(node.pids) as window,
    ):
        before = _come_and_go(crowd, node, WARM_WAVES)
        after = _come_and_go(crowd, node, WAVES)
    count = ONE_WAVE * WAVES
    details = {
        "before_mb": before / 1024,
        "after_mb": after / 1024,
        "grown_kb_each": (after - before) / count,
    }
    figure = f"memory after {count:,} more came and went"
    yield Reading(
        figure, "of before", after / before, {"bound": BOUND}, window.foreign, details
    )  # fmt: skip


def _come_and_go(crowd: Crowd, node: Server, waves: int) -> int:
    """The node's memory, kB, once they are all forgotten."""
    for _ in range(waves):
        lines = crowd.enter(node.port, Shape(ONE_WAVE, ROOMS).paths(), JOINED)
        crowd.leave(lines)
    # One stays, and hears the last of them leave.
    witness = crowd.enter(node.port, Shape(1).paths(), JOINED)
    crowd.stay(2 * GRACE_S)
    crowd.leave(witness)
    return rss_kb(node.pid)
