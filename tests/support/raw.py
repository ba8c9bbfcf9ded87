"""A WebSocket client of bytes: it does what no client library would, or nothing at all."""

import asyncio
import json
import socket
from typing import Any, Self
from urllib.parse import urlsplit

RECEIVED_BYTES = 65_536


def masked(payload: bytes, opcode: int = 1, first: int = 0x80) -> bytes:
    """A client's frame; its mask is zero, which is legal."""
    size = len(payload)
    if size < 126:
        head = bytes((first | opcode, 0x80 | size))
    elif size < 65_536:
        head = bytes((first | opcode, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first | opcode, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


def handshake(query: str = "") -> bytes:
    """The request for a WebSocket."""
    return (
        f"GET /ws{query} HTTP/1.1\r\nHost: roomful.test\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ).encode()


class RawClient:
    """One TCP connection. It answers neither pings nor closes by itself, and reads, beyond what
    little it buffers, only when told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, url: str) -> Self:
        """A connection over which nothing has been said, and whose kernel buffers little."""
        parts = urlsplit(url)
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_BYTES)
        narrow.setblocking(False)
        await asyncio.get_running_loop().sock_connect(narrow, (parts.hostname, parts.port))
        return cls(*await asyncio.open_connection(sock=narrow, limit=RECEIVED_BYTES))

    @classmethod
    async def open(cls, url: str, query: str = "", early: bytes = b"") -> Self:
        """Connect, and be a WebSocket; `early` is sent in one packet with the handshake."""
        client = await cls.connect(url)
        client.send(handshake(query) + early)
        status = await client.head()
        assert b" 101 " in status, status
        return client

    async def head(self, within_s: float = 5.0) -> bytes:
        """The head of the answer to an HTTP request; empty if the connection was ended instead."""
        try:
            async with asyncio.timeout(within_s):
                return await self._reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def frame(self, within_s: float = 5.0) -> tuple[int, bytes]:
        """The next frame: opcode and payload."""
        async with asyncio.timeout(within_s):
            first, size = await self._reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await self._reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self._reader.readexactly(8), "big")
            return first & 0x0F, await self._reader.readexactly(size)

    async def message(self) -> dict[str, Any]:
        """The next text message."""
        while True:
            opcode, payload = await self.frame()
            if opcode == 1:
                message: dict[str, Any] = json.loads(payload)
                return message

    async def rest(self, within_s: float = 15.0) -> list[tuple[int, bytes]]:
        """All frames until the node ends the connection. To its Close, ours ends too."""
        frames: list[tuple[int, bytes]] = []
        try:
            while True:
                frames.append(await self.frame(within_s))
                if frames[-1][0] == 8:
                    self.finish()
        except (asyncio.IncompleteReadError, ConnectionError):
            return frames

    @property
    def unsent(self) -> int:
        """Bytes that the kernel has not taken: the node does not read them."""
        return self._writer.transport.get_write_buffer_size()

    async def sent(self, down_to: int, within_s: float = 10.0) -> None:
        """Wait until no more than so many bytes are unsent."""
        async with asyncio.timeout(within_s):
            while self.unsent > down_to:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)

    def finish(self) -> None:
        """Say that nothing more is said; what the node says still arrives."""
        self._writer.write_eof()

    def abort(self) -> None:
        """End the connection at once, whatever is unsent."""
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return
