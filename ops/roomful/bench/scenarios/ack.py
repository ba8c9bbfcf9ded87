"""How long one lone message takes until its ack: socket, room, log and back."""

from collections.abc import Iterator
from typing import Final

from roomful.bench.broker import Appender, acking
from roomful.bench.closed_loop import ClosedLoop, percentiles_us
from roomful.bench.measure import Reading
from roomful.bench.processes import Window
from roomful.bench.running import run
from roomful.bench.subject import PAYLOAD, Bench
from roomful.bench.talk import asking, echoing, joined

WARM: Final = 500
SAMPLES: Final = 5000
CEILING_SAMPLES: Final = 20_000
"""Ceilings are so quick that fewer would be over before noise could be seen."""

Times = tuple[list[float], Window]


def once(bench: Bench) -> Iterator[Reading]:
    with bench.node() as node:
        ours, window = run(_node(node.port, node.pids))
    ceilings: dict[str, Times] = {}
    if bench.tools is not None:
        with bench.ceiling("direct") as server:
            ceilings["C echo"] = run(_echo(server.port, server.pids))
    with bench.broker() as broker:
        ceilings["JetStream append"] = run(_append(broker.port, broker.pids))
    foreign = max(window.foreign, *(used.foreign for _, used in ceilings.values()))
    details = {
        f"{part}_cpu_us_per_message": used * 1e6 / SAMPLES for part, used in window.by_part.items()
    }
    for index, name in enumerate(("p50", "p99")):
        yield Reading(
            f"ack round trip, {name}",
            "µs",
            percentiles_us(ours)[index],
            {other: percentiles_us(times)[index] for other, (times, _) in ceilings.items()},
            foreign,
            details,
        )


async def _node(port: int, servers: list[int]) -> Times:
    socket, _ = await joined(port, "idle", "ann")
    loop = ClosedLoop(1)
    asking(loop, [socket])
    times = await loop.times(WARM, SAMPLES, servers)
    await socket.close()
    return times


async def _echo(port: int, servers: list[int]) -> Times:
    async with echoing(port, 1) as loop:
        return await loop.times(WARM, CEILING_SAMPLES, servers)


async def _append(port: int, servers: list[int]) -> Times:
    loop = ClosedLoop(1)
    appender = await Appender.open(port, acking(loop))
    loop.ask = lambda: appender.append("one", PAYLOAD)
    times = await loop.times(WARM, CEILING_SAMPLES, servers)
    await appender.close()
    return times
