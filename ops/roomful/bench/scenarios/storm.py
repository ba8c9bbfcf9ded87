"""2,000 clients of a killed node come to another one: how long that takes, and who notices."""

import asyncio
import json
import os
import random
import re
import signal
import time
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlencode

from roomful.bench.closed_loop import percentiles_us
from roomful.bench.measure import Reading
from roomful.bench.processes import Server, Window, rss_kb
from roomful.bench.running import ended, run
from roomful.bench.subject import Bench
from roomful.bench.talk import closed, is_ack, joined, message
from roomful.bench.wire import Broken, Socket, answered

CLIENTS: Final = 2_000
ROOMS: Final = 100
AT_ONCE: Final = 50
PER_S: Final = 500
"""Clients let in in a second: the default of nodes, whose limits are lifted elsewhere."""
WITHIN_S: Final = 60.0
BOUND_S: Final = 15.0
"""The grace: whoever is back by then was never announced as gone."""
BESIDE_S: Final = 0.02
BESIDE_MS: Final = 250.0
"""What a bystander may notice, at the 99th percentile."""
_RETRY: Final = re.compile(r"Retry-After: (\d+)")


class Returning:
    """One client: what resumes it, and the socket that it has."""

    def __init__(self, number: int) -> None:
        self.room = f"room-{number % ROOMS}"
        self.query: dict[str, str | int] = {"room": self.room, "name": f"c{number}"}
        self.socket: Socket | None = None
        self.refused = 0

    async def come(self, port: int) -> bool:
        """Connect and be in the room; whether everything missed was recovered."""
        entered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def heard(payload: bytes) -> None:
            if b'"type":"hello"' in payload[:20]:
                data = json.loads(payload)["data"]
                self.query |= {"session": data["session"], "secret": data["secret"]}
            elif b'"type":"joined"' in payload[:40] and not entered.done():
                data = json.loads(payload)["data"]
                self.query |= {"since": data["seq"], "epoch": data["epoch"]}
                entered.set_result(data["recovered"])

        self.socket = await Socket.open(port, f"/ws?{urlencode(self.query)}", heard)
        return await answered(entered, self.socket, WITHIN_S)

    async def come_back(self, port: int) -> None:
        """As a client should: after a random while, and when it is told to."""
        ceiling = 0.3
        pause = random.uniform(0, ceiling)
        while True:
            await asyncio.sleep(pause)
            try:
                recovered = await self.come(port)
                break
            except (Broken, OSError) as refusal:
                self.refused += 1
                asked = _RETRY.search(str(refusal))
                after = int(asked[1]) if asked else 0
                ceiling = min(2 * ceiling, 15.0)
                pause = random.uniform(after, 1.25 * after) if after else random.uniform(0, ceiling)
        if not recovered:
            raise Broken(f"{self.query['name']} has not recovered everything")


def once(bench: Bench) -> Iterator[Reading]:
    with bench.broker() as broker:
        flags = ("--nats", f"nats://127.0.0.1:{broker.port}", "--limit-connects-per-s", str(PER_S))
        with bench.node(None, *flags) as stays, bench.node(None, *flags) as dies:
            with Window([stays.pid, dies.pid, broker.pid]) as window:
                took, times, refused = run(_storm(stays, dies))
            memory = rss_kb(stays.pid) / 1024
    half, most = percentiles_us(times)
    details = {"turned_away": float(refused), "bystander_p50_ms": half / 1000, "node_mb": memory}
    figure = f"{CLIENTS:,} clients of a killed node back in their rooms"
    yield Reading(figure, "s", took, {"bound": BOUND_S}, window.foreign, details)
    beside = {"bound": BESIDE_MS}
    yield Reading("ack of a bystander meanwhile, p99", "ms", most / 1000, beside, window.foreign)


async def _storm(stays: Server, dies: Server) -> tuple[float, list[float], int]:
    clients = [Returning(number) for number in range(CLIENTS)]
    for start in range(0, CLIENTS, AT_ONCE):
        some = clients[start : start + AT_ONCE]
        await asyncio.gather(*(client.come(dies.port) for client in some))
    bystander, _ = await joined(stays.port, "beside", "bystander")
    os.kill(dies.pid, signal.SIGKILL)
    started = time.perf_counter()
    times: list[float] = []
    beside = asyncio.create_task(_beside(bystander, times))
    async with asyncio.timeout(WITHIN_S):
        await asyncio.gather(*(client.come_back(stays.port) for client in clients))
    took = time.perf_counter() - started
    await ended([beside])
    await closed([bystander, *(one.socket for one in clients if one.socket is not None)])
    return took, times, sum(client.refused for client in clients)


async def _beside(socket: Socket, times: list[float]) -> None:
    """Say something every now and then, and note how long its ack took."""
    while True:
        acked: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def heard(payload: bytes, acked: asyncio.Future[None] = acked) -> None:
            if is_ack(payload) and not acked.done():
                acked.set_result(None)

        socket.heard = heard
        asked = time.perf_counter()
        socket.send(message(len(times)))
        try:
            await answered(acked, socket)
        finally:
            # Also of one that is still waited for at the end.
            times.append(time.perf_counter() - asked)
        await asyncio.sleep(BESIDE_S)
