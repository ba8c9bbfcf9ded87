"""A node sends its clients away: how many a second, beside what the other node is to take in."""

import asyncio
import time
from collections.abc import Iterator
from typing import Final

from roomful.bench.measure import Reading
from roomful.bench.processes import Server, Window
from roomful.bench.running import run
from roomful.bench.speaker import api
from roomful.bench.subject import Bench
from roomful.bench.wire import Socket

CLIENTS: Final = 1000
WINDOW_S: Final = 1.0
BUDGET: Final = 200.0
"""What a node that stays is to take in a second: so the window has to stretch."""
WITHIN_S: Final = 60.0
LEAVES: Final = "leaves"


def once(bench: Bench) -> Iterator[Reading]:
    with bench.pair(LEAVES) as (leaves, stays, broker):
        moments, window = run(_sent_away(leaves, [leaves, stays, broker]))
    seconds = moments[-1] - moments[0]
    most = max(sum(start <= at < start + 1 for at in moments) for start in moments)
    details = {"seconds": seconds, "most_in_a_second": most}
    rate = (len(moments) - 1) / seconds
    yield Reading("clients sent away", "/s", rate, {"budget": BUDGET}, window.foreign, details)


async def _sent_away(leaves: Server, servers: list[Server]) -> tuple[list[float], Window]:
    """When each client was told to leave, in order."""
    told: list[float] = []
    everybody = asyncio.Event()

    def heard(payload: bytes) -> None:
        if b'"type":"bye"' in payload[:40]:
            told.append(time.perf_counter())
            if len(told) == CLIENTS:
                everybody.set()

    sockets = [await Socket.open(leaves.port, "/ws", heard) for _ in range(CLIENTS)]
    with Window([server.pid for server in servers]) as window:
        await asyncio.to_thread(api, leaves.port, f"nodes/{LEAVES}/drain", {"window_s": WINDOW_S})
        async with asyncio.timeout(WITHIN_S):
            await everybody.wait()
    for socket in sockets:
        await socket.close()
    return told, window
