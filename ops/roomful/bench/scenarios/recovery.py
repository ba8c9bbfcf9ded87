"""500 clients come back at once, 20,000 events behind each: how fast they have them all."""

import asyncio
import time
from collections.abc import Iterator
from typing import Final

import uvloop

from roomful.bench.measure import Reading
from roomful.bench.processes import Server, Window, rss_kb
from roomful.bench.scenarios.catchup import MISSED, filled
from roomful.bench.subject import Bench
from roomful.bench.talk import Json, closed
from roomful.bench.wire import Socket, answered

CLIENTS: Final = 500
WITHIN_S: Final = 150.0
BOUND_PER_S: Final = 200_000.0
"""What one core is to give returning clients, from memory or pages."""
_MARK: Final = b'"type":"chat.message"'


class Counting(Socket):
    """Counts messages without taking frames apart: else this client would be what is measured."""

    def __init__(self, path: str) -> None:
        super().__init__(path, lambda _: None)
        self.everything: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count, self._tail = 0, b""

    def data_received(self, data: bytes) -> None:
        if not self.upgraded.done():
            super().data_received(data)
            if self.upgraded.done():
                self._counted(data)
        else:
            self._counted(data)

    def _counted(self, data: bytes) -> None:
        data = self._tail + data
        self._count += data.count(_MARK)
        # A mark that was cut in two is whole in the next piece.
        self._tail = data[-len(_MARK) + 1 :]
        if self._count >= MISSED and not self.everything.done():
            self.everything.set_result(None)


def once(bench: Bench) -> Iterator[Reading]:
    with bench.node() as node:
        seen = uvloop.run(filled(node.port))
        before = rss_kb(node.pid)
        with Window(node.pids) as window:
            took = uvloop.run(_caught_up(node, seen))
        grown = rss_kb(node.pid) - before
    events = CLIENTS * MISSED
    details = {
        f"{part}_cpu_us_per_event": used / events * 1e6 for part, used in window.by_part.items()
    } | {"node_memory_grown_mb": grown / 1024}
    figure = f"catch-up of {MISSED:,} events by {CLIENTS} clients at once"
    beside = {"bound": BOUND_PER_S}
    yield Reading(figure, "events/s", events / took, beside, window.foreign, details)


async def _caught_up(node: Server, seen: Json) -> float:
    """Seconds from the first connection to the last event of the last client."""
    path = f"/ws?room=past&since={seen['seq']}&epoch={seen['epoch']}"
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    sockets = []
    for _ in range(CLIENTS):
        _, socket = await loop.create_connection(lambda: Counting(path), "127.0.0.1", node.port)
        sockets.append(socket)
    for socket in sockets:
        await answered(socket.everything, socket, WITHIN_S)
    took = time.perf_counter() - started
    await closed(sockets)
    return took
