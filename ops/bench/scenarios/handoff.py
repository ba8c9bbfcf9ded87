"""Rooms go to another node while people talk: how long the longest of their acks takes."""

import asyncio
import http.client
import json
import time
from collections.abc import Iterator
from typing import Any, Final

import uvloop

from bench.closed_loop import percentiles_us
from bench.measure import Reading
from bench.processes import Server, Window
from bench.subject import Bench
from bench.talk import closed, is_ack, joined, message
from bench.wire import Socket, answered

ROOMS: Final = 50
THINK_S: Final = 0.02
"""Pause of a speaker between an ack and the next message."""
WARM_S: Final = 0.5
DRAIN_S: Final = 60.0
BOUND_MS: Final = 250.0


def once(bench: Bench) -> Iterator[Reading]:
    with bench.broker() as broker:
        flags = ("--nats", f"nats://127.0.0.1:{broker.port}", "--drain-window-s", "0")
        with (
            bench.node(None, *flags, "--node-id", "leaves") as leaves,
            bench.node(None, *flags, "--node-id", "stays") as stays,
        ):
            times, took, window = uvloop.run(_moved(leaves, stays, broker))
    p50, p99 = (us / 1000 for us in percentiles_us(times))
    details = {"worst_ms": max(times) * 1000, "rooms": float(len(times)), "drain_s": took}
    bound = {"bound": BOUND_MS}
    yield Reading("hand-off hiccup, p50", "ms", p50, bound, window.foreign, details)
    yield Reading("hand-off hiccup, p99", "ms", p99, bound, window.foreign)


async def _moved(
    leaves: Server, stays: Server, broker: Server
) -> tuple[list[float], float, Window]:
    """The longest ack of each room that has moved, in seconds; how long all took."""
    speakers = [await _Speaker.enter(stays.port, f"room-{i}") for i in range(ROOMS)]
    talking = [asyncio.create_task(speaker.talk()) for speaker in speakers]
    await asyncio.sleep(WARM_S)
    moving = {room["name"] for room in _api(stays.port, "rooms") if room["owner"] == "leaves"}
    for speaker in speakers:
        speaker.longest = 0.0
    with Window([leaves.pid, stays.pid, broker.pid]) as window:
        started = time.perf_counter()
        await asyncio.to_thread(_api, stays.port, "nodes/leaves/drain", {})
        async with asyncio.timeout(DRAIN_S):
            await asyncio.to_thread(_emptied, stays.port, "leaves")
        took = time.perf_counter() - started
        # The last ones to move have to be answered, too.
        await asyncio.sleep(WARM_S)
    for task in talking:
        task.cancel()
    await asyncio.wait(talking)
    await closed(speaker.socket for speaker in speakers)
    return [speaker.longest for speaker in speakers if speaker.room in moving], took, window


class _Speaker:
    """Says one thing after the other in a room of its own."""

    def __init__(self, room: str, socket: Socket) -> None:
        self.room, self.socket = room, socket
        self.longest = 0.0
        self._ack: asyncio.Future[None] | None = None
        socket.heard = self._hear

    @classmethod
    async def enter(cls, port: int, room: str) -> "_Speaker":
        return cls(room, (await joined(port, room, room))[0])

    async def talk(self) -> None:
        number = 0
        while await asyncio.sleep(THINK_S, result=True):
            number += 1
            ack = self._ack = asyncio.get_running_loop().create_future()
            asked = time.perf_counter()
            self.socket.send(message(number))
            await answered(ack, self.socket)
            self.longest = max(self.longest, time.perf_counter() - asked)

    def _hear(self, payload: bytes) -> None:
        if is_ack(payload) and self._ack is not None:
            self._ack.set_result(None)


def _emptied(port: int, node: str) -> None:
    """Wait until `node` owns nothing."""
    while any(view["partitions"] for view in _api(port, "nodes") if view["id"] == node):
        time.sleep(0.05)


def _api(port: int, path: str, body: object = None) -> Any:
    """What the operators' API says; of a list, its items."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        if body is None:
            connection.request("GET", f"/api/{path}")
        else:
            sent = json.dumps(body)
            connection.request("POST", f"/api/{path}", sent, {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        return answer.get(path, answer)
    finally:
        connection.close()
