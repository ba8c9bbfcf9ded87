"""Rooms go to another node while people talk: how long the slowest ack of each takes meanwhile."""

import asyncio
import time
from collections.abc import Iterator
from typing import Final

from roomful.bench.closed_loop import percentiles_us
from roomful.bench.measure import Reading
from roomful.bench.processes import Server, Window
from roomful.bench.running import run
from roomful.bench.speaker import Speaker, all_heard, api, talking
from roomful.bench.subject import Bench
from roomful.bench.talk import closed

ROOMS: Final = 50
WARM_S: Final = 0.5
WITHIN_S: Final = 60.0
BOUND_MS: Final = 250.0
LEAVES: Final = "leaves"


def once(bench: Bench) -> Iterator[Reading]:
    with bench.pair(LEAVES) as (leaves, stays, broker):
        slowest, took, window = run(_moved([leaves, stays, broker], stays.port))
    p50, p99 = (us / 1000 for us in percentiles_us(slowest))
    details = {"worst_ms": max(slowest) * 1000, "rooms": len(slowest), "all_moved_s": took}
    bound = {"bound": BOUND_MS}
    yield Reading("hand-off hiccup, p50", "ms", p50, bound, window.foreign, details)
    yield Reading("hand-off hiccup, p99", "ms", p99, bound, window.foreign)


async def _moved(servers: list[Server], port: int) -> tuple[list[float], float, Window]:
    """The slowest ack of each room that has moved, in seconds; and how long it took all."""
    speakers = [await Speaker.enter(port, f"room-{i}") for i in range(ROOMS)]
    async with talking(speakers):
        await asyncio.sleep(WARM_S)
        rooms = await asyncio.to_thread(api, port, "rooms")
        theirs = {room["name"] for room in rooms if room["owner"] == LEAVES}
        moving = [speaker for speaker in speakers if speaker.room in theirs]
        for speaker in speakers:
            speaker.forget()
        with Window([server.pid for server in servers]) as window:
            started = time.perf_counter()
            await asyncio.to_thread(api, port, f"nodes/{LEAVES}/drain", {})
            emptied = await asyncio.to_thread(_emptied, port)
            # What has moved last has to be answered, too.
            await all_heard(moving, emptied, WITHIN_S)
    await closed(speaker.socket for speaker in speakers)
    return [speaker.longest for speaker in moving], emptied - started, window


def _emptied(port: int) -> float:
    """When the node that leaves has no partition any more."""
    deadline = time.perf_counter() + WITHIN_S
    while time.perf_counter() < deadline:
        [owned] = [view["partitions"] for view in api(port, "nodes") if view["id"] == LEAVES]
        if not owned:
            return time.perf_counter()
        time.sleep(0.02)
    raise TimeoutError("it does not give its rooms away")
