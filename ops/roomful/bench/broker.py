"""The broker without anybody in between: what an append costs at the least."""

import asyncio
import json
from collections.abc import Callable
from itertools import count
from typing import Any, Final, Self, cast

from roomful.bench import running
from roomful.bench.closed_loop import ClosedLoop
from roomful.bench.wire import Broken

_INBOX: Final = "_INBOX.bench."
_STREAM: Final[dict[str, Any]] = {
    "name": "bench", "subjects": ["bench.>"], "storage": "file", "max_bytes": 2**30,
}  # fmt: skip


def acking(loop: ClosedLoop) -> Callable[[bytes], None]:
    """What counts acks for `loop`, and fails it where the broker has refused to store."""

    def acked(answer: bytes) -> None:
        if b'"error"' in answer:
            loop.fail(Broken(answer.decode()))
        else:
            loop.answered()

    return acked


class Appender(asyncio.Protocol):
    """A connection that stores messages in a stream. `acked` is called with every ack."""

    def __init__(self, acked: Callable[[bytes], None]) -> None:
        self._acked = acked
        self._rest = b""
        self._due: list[bytes] = []
        self._numbers = count()
        self._lost = asyncio.Event()

    @classmethod
    async def open(cls, port: int, acked: Callable[[bytes], None]) -> Self:
        """Connect and make the stream. Raises Broken if the broker refuses."""
        loop = asyncio.get_running_loop()
        made: asyncio.Future[bytes] = loop.create_future()
        _, self = await loop.create_connection(lambda: cls(made.set_result), "127.0.0.1", port)
        self._send(b'CONNECT {"verbose":false}\r\nSUB %b* 1\r\n' % _INBOX.encode())
        self._publish("$JS.API.STREAM.CREATE.bench", json.dumps(_STREAM).encode())
        if b'"error"' in (answer := await asyncio.wait_for(made, 10)):
            raise Broken(answer.decode())
        self._acked = acked
        return self

    def append(self, subject: str, payload: bytes) -> None:
        """Have `payload` stored on `bench.<subject>`."""
        self._publish(f"bench.{subject}", payload)

    async def close(self) -> None:
        self._transport.close()
        await self._lost.wait()

    def _publish(self, subject: str, payload: bytes) -> None:
        head = f"PUB {subject} {_INBOX}{next(self._numbers)} {len(payload)}\r\n"
        self._send(head.encode() + payload + b"\r\n")

    def _send(self, data: bytes) -> None:
        # One write per turn of the loop: as a good client does it.
        if not self._due:
            asyncio.get_running_loop().call_soon(self._flush)
        self._due.append(data)

    def _flush(self) -> None:
        due, self._due = self._due, []
        self._transport.write(b"".join(due))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none by name.
        self._transport = cast("asyncio.Transport", transport)
        running.opened(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        running.lost(self._transport)
        self._lost.set()

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        while (line_end := data.find(b"\r\n")) >= 0:
            line = data[:line_end]
            if line.startswith(b"MSG "):
                end = line_end + 2 + int(line.rpartition(b" ")[2])
                if len(data) < end + 2:
                    break
                self._acked(data[line_end + 2 : end])
                data = data[end + 2 :]
            else:
                if line == b"PING":
                    self._send(b"PONG\r\n")
                data = data[line_end + 2 :]
        self._rest = data
