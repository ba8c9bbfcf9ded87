"""Acked messages per second: into one hot room, and spread over many rooms."""

from collections.abc import Iterator
from typing import Final

import uvloop

from roomful.bench.broker import Appender
from roomful.bench.closed_loop import ClosedLoop
from roomful.bench.measure import Reading
from roomful.bench.processes import Window
from roomful.bench.subject import PAYLOAD, Bench
from roomful.bench.talk import asking, closed, echoing, joined

IN_FLIGHT: Final = 100
ROOMS: Final = (1, 200)

Rate = tuple[float, Window]


def once(bench: Bench) -> Iterator[Reading]:
    for rooms in ROOMS:
        yield _read(bench, rooms)


def _read(bench: Bench, rooms: int) -> Reading:
    with bench.node() as node:
        ours, window = uvloop.run(_node(node.port, rooms, node.pids, bench.seconds))
    ceilings: dict[str, Rate] = {}
    if bench.tools is not None:
        with bench.ceiling("direct") as server:
            ceilings["C echo"] = uvloop.run(_echo(server.port, rooms, server.pids, bench.seconds))
    with bench.broker() as broker:
        ceilings["JetStream appends"] = uvloop.run(
            _appends(broker.port, rooms, broker.pids, bench.seconds)
        )
    return Reading(
        "one hot room" if rooms == 1 else f"{rooms} rooms",
        "messages/s",
        ours,
        {name: rate for name, (rate, _) in ceilings.items()},
        max(window.foreign, *(used.foreign for _, used in ceilings.values())),
        {
            f"{name}_cpu_us_per_message": used / window.seconds / ours * 1e6
            for name, used in window.by_name.items()
        },
    )


async def _node(port: int, rooms: int, servers: list[int], seconds: float) -> Rate:
    sockets = [(await joined(port, f"room-{i}", f"ann-{i}"))[0] for i in range(rooms)]
    loop = ClosedLoop(IN_FLIGHT)
    asking(loop, sockets)
    rate = await loop.rate(seconds, servers)
    await closed(sockets)
    return rate


async def _echo(port: int, sockets: int, servers: list[int], seconds: float) -> Rate:
    async with echoing(port, IN_FLIGHT, sockets) as loop:
        return await loop.rate(seconds, servers)


async def _appends(port: int, subjects: int, servers: list[int], seconds: float) -> Rate:
    loop = ClosedLoop(IN_FLIGHT)
    appender = await Appender.open(port, lambda _: loop.answered())
    turn = 0

    def ask() -> None:
        nonlocal turn
        turn = (turn + 1) % subjects
        appender.append(f"room-{turn}", PAYLOAD)

    loop.ask = ask
    rate = await loop.rate(seconds, servers)
    await appender.close()
    return rate
