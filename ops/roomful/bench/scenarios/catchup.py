"""A client that comes back after 20,000 events: how fast it has them all."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from roomful.bench.closed_loop import ClosedLoop
from roomful.bench.measure import Reading
from roomful.bench.processes import Server, Window
from roomful.bench.running import run
from roomful.bench.subject import Bench
from roomful.bench.talk import Json, asking, is_message, joined, message
from roomful.bench.wire import Heard, Socket, answered, client_frame

MISSED: Final = 20_000
RETURNS: Final = 10
"""So often the client comes back: one time is too short to see whether others disturbed it."""
IN_FLIGHT: Final = 200
WITHIN_S: Final = 60
ENVELOPE: Final = 120
"""Bytes that an event has more than what the client has said: who, where, when, which."""

Caught = tuple[float, Window]


def once(bench: Bench) -> Iterator[Reading]:
    folder = bench.fresh()
    with bench.node(folder) as node:
        seen = run(filled(node.port))
        warm = run(_caught_up(node, seen))
    with bench.node(folder) as node:
        cold = run(_caught_up(node, seen, 1))
    ceilings: dict[str, float] = {}
    foreign = 0.0
    if bench.tools is not None:
        with bench.ceiling("tick") as server:
            rate, window = run(_echoed(server))
        ceilings, foreign = {"C tick": rate}, window.foreign
    for figure, (rate, window) in (("catch-up", warm), ("catch-up after a restart", cold)):
        details = {
            f"{part}_cpu_us_per_event": used / window.seconds / rate * 1e6
            for part, used in window.by_part.items()
        }
        noise = max(window.foreign, foreign)
        yield Reading(figure, "events/s", rate, ceilings, noise, details)


async def filled(port: int) -> Json:
    """Have MISSED things said in a room; what a client knew that had left it before."""
    leaver, seen = await joined(port, "past", "ann")
    await leaver.close()
    speaker, _ = await joined(port, "past", "bob")
    loop = ClosedLoop(IN_FLIGHT)
    asking(loop, [speaker])
    await loop.all_of(MISSED)
    await speaker.close()
    return seen


async def _caught_up(node: Server, seen: Json, returns: int = RETURNS) -> Caught:
    """Events per second, from the start of the connection to the last one."""
    query = f"room=past&name=ann&since={seen['seq']}&epoch={seen['epoch']}"

    async def return_once() -> None:
        everything, heard = _counting(is_message)
        socket = await Socket.open(node.port, f"/ws?{query}", heard)
        await answered(everything, socket, WITHIN_S)
        await socket.close()

    return await _timed(return_once, node, returns)


async def _echoed(server: Server) -> Caught:
    """As many messages of about that length, from the only member of a room to itself."""
    frames = client_frame(message() + b" " * ENVELOPE) * MISSED

    async def say_all() -> None:
        everything, heard = _counting(lambda payload: True)
        socket = await Socket.open(server.port, "/ws", heard)
        socket.write(frames)
        await answered(everything, socket, WITHIN_S)
        await socket.close()

    return await _timed(say_all, server, RETURNS)


async def _timed(once: Callable[[], Awaitable[None]], server: Server, times: int) -> Caught:
    with Window(server.pids) as window:
        started = time.perf_counter()
        for _ in range(times):
            await once()
        took = time.perf_counter() - started
    return times * MISSED / took, window


def _counting(counts: Callable[[bytes], bool]) -> tuple[asyncio.Future[None], Heard]:
    """A future that is done when MISSED messages that `counts` have been heard."""
    everything: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    count = 0

    def heard(payload: bytes) -> None:
        nonlocal count
        count += counts(payload)
        if count == MISSED and not everything.done():
            everything.set_result(None)

    return everything, heard
