"""One connection of a client: frames from a WebSocket into the state, and what is due out of it."""

import asyncio
import os
import socket as sockets
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

import aiohttp

from roomful_client.state import Outcome, State
from roomful_protocol.codecs import JSON, MSGPACK
from roomful_protocol.codecs.json import loads
from roomful_protocol.codecs.values import pack, unpack
from roomful_protocol.errors import HEARTBEAT, UNAUTHORIZED

Socket = aiohttp.ClientWebSocketResponse[bool]

MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""The largest frame that is taken from a node: a long history of long messages."""
CLOSE_S: Final = 1.0
AWAY_S: Final = 60.0
"""A `Retry-After` of more is taken for so much."""
SPREAD: Final = 1.25
_REFUSED: Final = frozenset({401, 403})


class Ending(NamedTuple):
    """How a connection ended; `code` is None if nobody said. `delay_ms`: the window in which to
    come again, if the node said one over HTTP."""

    code: int | None
    reason: str
    delay_ms: tuple[float, float] = (0, 0)


class Wires:
    """Runs one connection after the other for a `State`; `tell` hears what each frame changes.

    `binary`: speak msgpack in place of JSON.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        url: str,
        state: State,
        tell: Callable[[Outcome], None],
        *,
        binary: bool = False,
    ) -> None:
        self._http, self._url, self._state, self._tell = http, url, state, tell
        self._binary = binary
        self._socket: Socket | None = None
        self._to_read, self._to_write = asyncio.Event(), asyncio.Event()

    def stir(self) -> None:
        """Something may be due, or there may be room for more."""
        self._to_read.set()
        self._to_write.set()

    async def run(self, token: str | None, hello_s: float) -> Ending:
        """Connect and return how that ended. Raises nothing that a network can do."""
        try:
            async with asyncio.timeout(hello_s):
                socket = await self._connect(token)
        except aiohttp.WSServerHandshakeError as refused:
            code = UNAUTHORIZED.code if refused.status in _REFUSED else None
            return Ending(code, f"HTTP {refused.status}", _asked_away(refused))
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            return Ending(None, str(problem) or type(problem).__name__)
        self._socket = socket
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write(socket), name="roomful client: writer")
                ending = await self._read(socket, hello_s)
                writer.cancel()
            return ending
        finally:
            self._socket = None
            with suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await socket.close()

    async def _connect(self, token: str | None) -> Socket:
        return await self._http.ws_connect(
            self._url,
            params=self._state.session.query(token),
            protocols=((MSGPACK if self._binary else JSON).subprotocol,),
            autoping=False,
            max_msg_size=MESSAGE_BYTES,
            decode_text=False,
        )

    async def bye(self) -> None:
        """Tell the node that this is a clean end; it closes then."""
        if self._socket is not None:
            await self._send(self._socket, b'{"type":"bye"}')

    def abort(self) -> None:
        """Break the connection without a word, as a network does."""
        if self._socket is not None and (tcp := self._socket.get_extra_info("socket")) is not None:
            # Of a duplicate: the loop's own socket lets nobody do this.
            with suppress(OSError), sockets.socket(fileno=os.dup(tcp.fileno())) as same:
                same.shutdown(sockets.SHUT_RDWR)

    async def _read(self, socket: Socket, hello_s: float) -> Ending:
        while True:
            await self._may_read()
            message = await self._next(socket, hello_s)
            if message is None:
                return Ending(HEARTBEAT.code, "Nothing heard any more.")
            match message.type:
                case aiohttp.WSMsgType.TEXT | aiohttp.WSMsgType.BINARY as kind:
                    if not self._hear(message.data, kind):
                        return Ending(None, "The node sent what is no frame of this protocol.")
                case aiohttp.WSMsgType.PING:
                    await _pong(socket, message.data)
                case aiohttp.WSMsgType.PONG:
                    continue
                case _:
                    code = socket.close_code
                    reason = str(message.extra or "The connection broke.")
                    return Ending(None if code is None else int(code), reason)

    async def _next(self, socket: Socket, hello_s: float) -> Any:
        """The next message of the node; None if it says nothing, not even to a ping."""
        session = self._state.session
        patience_s = session.heartbeat_s or hello_s
        with suppress(TimeoutError):
            return await socket.receive(patience_s)
        if session.heartbeat_s is not None:
            # It asks for signs of life only when we are silent, which we need not have been.
            await self._send(socket, b'{"type":"ping"}')
            with suppress(TimeoutError):
                return await socket.receive(patience_s)
        return None

    async def _may_read(self) -> None:
        if self._state.behind:
            # What has arrived is received without waiting: let the reader catch up first.
            await asyncio.sleep(0)
        while self._state.blocked:
            self._to_read.clear()
            await self._to_read.wait()

    def _hear(self, data: bytes, kind: aiohttp.WSMsgType) -> bool:
        try:
            frame: dict[str, Any] = loads(data) if kind == aiohttp.WSMsgType.TEXT else unpack(data)
            outcomes = self._state.hear(frame, _now())
        except (LookupError, TypeError, ValueError, AttributeError):
            return False
        for outcome in outcomes:
            self._tell(outcome)
        if outcomes:
            self._to_write.set()
        return True

    async def _write(self, socket: Socket) -> None:
        """Send what is due until the socket has ended, which is for the reading to find out."""
        while not socket.closed:
            self._to_write.clear()
            for data in self._state.due(_now()):
                if not await self._send(socket, data):
                    return
            wake_at = self._state.wake_at
            try:
                async with asyncio.timeout_at(wake_at):
                    await self._to_write.wait()
            except TimeoutError:
                continue

    async def _send(self, socket: Socket, data: bytes) -> bool:
        """Send a frame, given as JSON; False if the connection is gone."""
        kind = aiohttp.WSMsgType.TEXT
        if self._binary:
            data, kind = pack(loads(data)), aiohttp.WSMsgType.BINARY
        try:
            await socket.send_frame(data, kind)
        except (aiohttp.ClientError, OSError, RuntimeError):
            return False
        return True


def _asked_away(refused: aiohttp.WSServerHandshakeError) -> tuple[float, float]:
    """The window that `Retry-After` asks for, in milliseconds: from then on, spread a little."""
    asked = "" if refused.headers is None else refused.headers.get("Retry-After", "")
    if not asked.isdecimal():
        return (0, 0)
    after_ms = 1000 * min(float(asked), AWAY_S)
    return (after_ms, SPREAD * after_ms)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _pong(socket: Socket, data: bytes) -> None:
    try:
        await socket.pong(data)
    except (aiohttp.ClientError, OSError, RuntimeError):
        return
