"""Somebody who says one thing after the other, and remembers which was answered last of all."""

import asyncio
import http.client
import json
import time
from typing import Any, Final, Self

from roomful.bench.talk import is_ack, joined, message
from roomful.bench.wire import Socket, answered

THINK_S: Final = 0.02
"""Pause between an ack and the next message."""


class Speaker:
    """`longest`: how long the slowest ack has taken, seconds, and `longest_at` when it came, by
    `time.perf_counter`; both since `forget`."""

    def __init__(self, room: str, socket: Socket) -> None:
        self.room, self.socket = room, socket
        self.longest = self.longest_at = 0.0
        self._ack: asyncio.Future[None] | None = None
        socket.heard = self._hear

    @classmethod
    async def enter(cls, port: int, room: str) -> Self:
        return cls(room, (await joined(port, room, room))[0])

    def forget(self) -> None:
        self.longest = self.longest_at = 0.0

    async def talk(self) -> None:
        """Until cancelled."""
        number = 0
        while await asyncio.sleep(THINK_S, result=True):
            number += 1
            ack = self._ack = asyncio.get_running_loop().create_future()
            asked = time.perf_counter()
            self.socket.send(message(number))
            await answered(ack, self.socket)
            now = time.perf_counter()
            if now - asked > self.longest:
                self.longest, self.longest_at = now - asked, now

    def _hear(self, payload: bytes) -> None:
        if is_ack(payload) and self._ack is not None and not self._ack.done():
            self._ack.set_result(None)


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
