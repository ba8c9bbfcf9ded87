"""Nodes that share the rooms among them: until they have, they have work of their own."""

import time
from typing import Final

from roomful.bench.speaker import api

EVEN: Final = 0.85
"""Then the poorest node has this part of its share of the partitions."""
WITHIN_S: Final = 60.0


def evened_out(port: int, nodes: int) -> None:
    """Wait until each of `nodes` has about as many partitions; ask the one at `port`. Raises
    TimeoutError."""
    deadline = time.perf_counter() + WITHIN_S
    while time.perf_counter() < deadline:
        owned = [view["partitions"] for view in api(port, "nodes")]
        if len(owned) == nodes and min(owned) >= EVEN * sum(owned) / nodes:
            return
        time.sleep(0.1)
    raise TimeoutError("the nodes have not shared the rooms")
