"""Somebody who says one thing after the other, and remembers which was answered last of all."""

import asyncio
import http.client
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, Self

from roomful.bench.running import ended
from roomful.bench.talk import error_in, is_ack, joined, message
from roomful.bench.wire import Socket, answered

THINK_S: Final = 0.02
"""Pause between an ack and the next message."""


class Speaker:
    """`longest`: how long the slowest ack has taken, seconds, and `longest_at` when it came, both
    since `forget`. `heard_of`: when the newest message was said that was acked. Times are those of
    `time.perf_counter`."""

    def __init__(self, room: str, socket: Socket) -> None:
        self.room, self.socket = room, socket
        self.longest = self.longest_at = self.heard_of = 0.0
        self._ack: asyncio.Future[None] | None = None
        socket.heard = self._hear

    @classmethod
    async def enter(cls, port: int, room: str) -> Self:
        return cls(room, (await joined(port, room, room))[0])

    def forget(self) -> None:
        self.longest = self.longest_at = 0.0

    async def talk(self) -> None:
        """Until cancelled. Raises Broken if something is answered by anything but its ack."""
        number = 0
        while await asyncio.sleep(THINK_S, result=True):
            number += 1
            ack = self._ack = asyncio.get_running_loop().create_future()
            asked = time.perf_counter()
            self.socket.send(message(number))
            await answered(ack, self.socket)
            now, self.heard_of = time.perf_counter(), asked
            if now - asked > self.longest:
                self.longest, self.longest_at = now - asked, now

    def _hear(self, payload: bytes) -> None:
        if self._ack is None or self._ack.done():
            return
        if is_ack(payload):
            self._ack.set_result(None)
        elif (error := error_in(payload)) is not None:
            self._ack.set_exception(error)


@asynccontextmanager
async def talking(speakers: Iterable[Speaker]) -> AsyncIterator[None]:
    """All of them talk within the block. Raises what one of them has met."""
    tasks = [asyncio.create_task(speaker.talk()) for speaker in speakers]
    try:
        yield
    finally:
        # Within: who waits for a speaker in vain is to hear what that one has met.
        await ended(tasks)


async def all_heard(speakers: Iterable[Speaker], since: float, within_s: float) -> None:
    """Return when each has had something acked that was said after `since`. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        for speaker in speakers:
            while speaker.heard_of <= since:  # noqa: ASYNC110 - of one after the other
                await asyncio.sleep(THINK_S)


def api(port: int, path: str, body: object = None) -> Any:
    """What the operators' API says, or says to `body` being posted; of a list, its items."""
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
