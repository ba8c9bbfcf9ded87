"""A WebSocket client as lean as Python can have it, so that the node is what is measured."""

import asyncio
import base64
import os
from collections.abc import Callable
from typing import Any, Final, Self, TypeVar, cast

from roomful.bench import running

_FIN_TEXT: Final = 0x81
PING: Final = 0x89
PONG: Final = 0x8A
_CLOSE: Final = 0x88
# Masked with zeros, as the protocol allows: the server does its work, the client is spared its own.
_MASK: Final = bytes(4)

Heard = Callable[[bytes], None]
T = TypeVar("T")


class Broken(Exception):
    """The node refused or closed the socket; the text is what it said last."""


def client_frame(payload: bytes, first: int = _FIN_TEXT) -> bytes:
    """`payload` as one frame of a client."""
    size = len(payload)
    if size < 126:
        return bytes((first, 0x80 | size)) + _MASK + payload
    if size < 65_536:
        return bytes((first, 0xFE)) + size.to_bytes(2, "big") + _MASK + payload
    return bytes((first, 0xFF)) + size.to_bytes(8, "big") + _MASK + payload


def split(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The whole frames of a server in `data`, as first byte and payload; and what is left."""
    found, at, end = [], 0, len(data)
    while end - at >= 2:
        size, start = data[at + 1], at + 2
        if size == 126:
            size, start = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
        elif size == 127:
            size, start = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
        if start + size > end:
            break
        found.append((data[at], data[start : start + size]))
        at = start + size
    return found, data[at:]


class Socket(asyncio.Protocol):
    """One open WebSocket. `heard` is called with the payload of every message."""

    def __init__(self, path: str, heard: Heard) -> None:
        self.heard = heard
        loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = loop.create_future()
        self.upgraded: asyncio.Future[None] = loop.create_future()
        self._path = path
        self._due: list[bytes] = []
        self._rest = b""
        self._last = b""

    @classmethod
    async def open(cls, port: int, path: str, heard: Heard) -> Self:
        """Connect and upgrade. Raises OSError, and Broken if the server refuses."""
        loop = asyncio.get_running_loop()
        _, socket = await loop.create_connection(lambda: cls(path, heard), "127.0.0.1", port)
        await answered(socket.upgraded, socket)
        return socket

    def send(self, payload: bytes) -> None:
        """Have `payload` written, together with all else that is sent in this turn of the loop."""
        self.write(client_frame(payload))

    def write(self, frames: bytes) -> None:
        """The same for what `client_frame` has made."""
        if not self._due:
            asyncio.get_running_loop().call_soon(self._flush)
        self._due.append(frames)

    def _flush(self) -> None:
        due, self._due = self._due, []
        self._transport.write(b"".join(due))

    async def close(self) -> None:
        """Close without a word, and wait until it is."""
        self._transport.close()
        await asyncio.wait([self.lost])

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none by name.
        self._transport = transport = cast("asyncio.Transport", transport)
        running.opened(transport)
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        running.lost(self._transport)
        if not self.lost.done():
            self.lost.set_exception(Broken(f"{exc} {self._last[:300]!r}"))
            self.lost.exception()  # nobody has to ask for it

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if not self.upgraded.done():
            head, whole, after = data.partition(b"\r\n\r\n")
            if not whole:
                self._rest = data
                return
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                self._last = data
                self._transport.close()
                return
            data = after
            self.upgraded.set_result(None)
        frames, self._rest = split(data)
        heard = self.heard
        for first, payload in frames:
            if first == _FIN_TEXT:
                heard(payload)
            elif first == PING:
                self.write(client_frame(payload, PONG))
            elif first == _CLOSE:
                self._last = payload


async def answered(future: asyncio.Future[T], socket: Socket, within_s: float = 30.0) -> T:
    """The result of `future`. Raises Broken if the socket ends before, and TimeoutError."""
    both: tuple[asyncio.Future[Any], ...] = (future, socket.lost)
    await asyncio.wait(both, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
    if future.done():
        return future.result()
    if socket.lost.done():
        socket.lost.result()
    raise TimeoutError(f"no answer within {within_s} s")
