"""A node is killed while people talk: how long until its rooms answer on another node."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from statistics import median
from typing import Final

from roomful.bench.measure import Reading
from roomful.bench.processes import Server, Window
from roomful.bench.running import run
from roomful.bench.speaker import Speaker, all_heard, api, talking
from roomful.bench.subject import Bench
from roomful.bench.talk import closed, joined
from roomful.bench.wire import Socket, answered

KILLS: Final = 20
ROOMS: Final = 20
"""Rooms that people talk in, over both nodes."""
IDLE_ROOMS: Final = 2000
"""Rooms with a silent member each, over both nodes, in the last run of all."""
ROOMS_EACH: Final = 125
"""Rooms that one silent client is in."""
SETTLED_S: Final = 60.0
SETTLES_S: Final = 0.5
"""Who is given no room for so long has all that it will be given."""
BOUND_S: Final = 3.0
DIES: Final = "dies"


def once(bench: Bench) -> Iterator[Reading]:
    with bench.broker() as broker:
        flags = ("--nats", f"nats://127.0.0.1:{broker.port}")
        with Window([broker.pid]) as window:
            took = [_killed(bench, flags, 0)[0] for _ in range(KILLS)]
            among_many, woken = _killed(bench, flags, IDLE_ROOMS)
    bound = {"bound": BOUND_S}
    for name, seconds in (
        (f"kill -9 to the first ack of every room, median of {KILLS}", median(took)),
        (f"kill -9 to the first ack of every room, worst of {KILLS}", max(took)),
        (f"the same among {IDLE_ROOMS:,} rooms with members", among_many),
        ("kill -9 to the waking of the last of these", woken),
    ):
        yield Reading(name, "s", seconds, bound, window.foreign)


def _killed(bench: Bench, flags: tuple[str, ...], idle: int) -> tuple[float, float]:
    """Seconds from the kill of a second node until the last of its talked-in rooms has answered,
    and until the last of its silent ones is awake. Both nodes are new: one that has seen others
    vanish again and again is slow to give rooms to the next."""
    with (
        bench.node(None, *flags) as stays,
        bench.node(None, *flags, "--node-id", DIES) as dies,
    ):
        return run(_outage(dies, stays, idle))


async def _outage(dies: Server, stays: Server, idle: int) -> tuple[float, float]:
    silent = [await _silent(stays.port, first) for first in range(0, idle, ROOMS_EACH)]
    speakers = [await Speaker.enter(stays.port, f"room-{i}") for i in range(ROOMS)]
    async with talking(speakers):
        moving = await _moving(stays.port)
        for speaker in speakers:
            speaker.forget()
        os.kill(dies.pid, signal.SIGKILL)
        killed, killed_ms = time.perf_counter(), time.time_ns() // 1_000_000
        # Long enough for a second outage to be seen, and for as long as the first one takes.
        await asyncio.sleep(BOUND_S)
        affected = [speaker for speaker in speakers if speaker.room in moving]
        await all_heard(affected, killed, SETTLED_S)
        woken_ms = await _woken_ms(stays.port, moving, killed_ms)
    await closed([*silent, *(speaker.socket for speaker in speakers)])
    slowest = max(speaker.longest_at for speaker in affected)
    return slowest - killed, (woken_ms - killed_ms) / 1000


async def _moving(port: int) -> set[str]:
    """The rooms of the node that is to die, once it is given no more of them."""
    before: set[str] = set()
    async with asyncio.timeout(SETTLED_S):
        while True:
            rooms = await asyncio.to_thread(api, port, "rooms")
            theirs = {room["name"] for room in rooms if room["owner"] == DIES}
            if theirs == before and any(name.startswith("room-") for name in theirs):
                return theirs
            before = theirs
            await asyncio.sleep(SETTLES_S)


async def _woken_ms(port: int, moved: set[str], killed_ms: int) -> int:
    """When the last of the silent ones among the rooms has woken, which it writes into its log; if
    there is none, when the node was killed."""
    async with asyncio.timeout(SETTLED_S):
        while True:
            rooms = await asyncio.to_thread(api, port, "rooms")
            silent = [r["active_ms"] for r in rooms if r["name"] in moved and "idle" in r["name"]]
            if all(active_ms > killed_ms for active_ms in silent):
                return max(silent, default=killed_ms)
            await asyncio.sleep(BOUND_S)


async def _silent(port: int, first: int) -> Socket:
    """A client of many rooms in which nobody speaks."""
    socket, _ = await joined(port, f"idle-{first}", f"silent-{first}")
    entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    missing = ROOMS_EACH - 1

    def heard(payload: bytes) -> None:
        nonlocal missing
        missing -= b'"type":"joined"' in payload[:40]
        if not missing and not entered.done():
            entered.set_result(None)

    socket.heard = heard
    for number in range(first + 1, first + ROOMS_EACH):
        socket.send(json.dumps({"type": "join", "room": f"idle-{number}"}).encode())
    await answered(entered, socket)
    socket.heard = lambda _: None
    return socket
