"""A WebSocket whose messages are pushed out of aiohttp's parser instead of being waited for.

Waking a task per message costs as much as all the rest of the way in; pushing them more than
doubles what a node takes in. One private method of aiohttp is overridden for it, with a queue of
our own between parser and response. `PUSHING` is False if this aiohttp is not built as expected:
then messages come through `receive` as ever, correct and slower. Ping, pong, close and the closing
handshake stay aiohttp's in any case.
"""

import asyncio
from collections.abc import Callable
from inspect import signature
from typing import Any, Final, Literal

import structlog
from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType, web
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_websocket import WebSocketReader

from roomful_nodes.outbox import CLOSE_S, LOW
from roomful_protocol.errors import TOO_BIG, VIOLATION, Close
from roomful_protocol.frames import Limits

Receive = Callable[[bytes, bool], None]
"""Takes one message and whether it came as text. Must not raise."""

Alive = Callable[[], bool]
"""Takes word of a ping or pong, and says whether it may be answered. Must not raise."""

_IDLE_TALK: Final = frozenset({WSMsgType.PING, WSMsgType.PONG})
_HEAD_BYTES: Final = 14
"""Of each frame, at most."""
_QUEUE_LIMIT: Final = 2**16

log = structlog.get_logger()


class _PushQueue(WebSocketDataQueue):
    """What the parser feeds: messages go to `push`, everything else into the queue."""

    __slots__ = ("alive", "push")

    push: Receive
    alive: Alive

    def feed_data(self, data: Any, size: int) -> None:
        kind = data[0]
        if kind is WSMsgType.TEXT or kind is WSMsgType.BINARY:
            self.push(data[1], kind is WSMsgType.TEXT)
        elif self.alive() or kind not in _IDLE_TALK:
            super().feed_data(data, size)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        if isinstance(exc, WebSocketError):
            # The client broke the protocol. As a message, so that the queue stays open: closing
            # then waits for the client, which must not be reset before it has read why.
            super().feed_data(WSMessage(WSMsgType.ERROR, exc, None), 0)
        else:
            super().set_exception(exc)


class _Meter:
    """Between the socket and the parser: reads no faster than a client may send.

    A message may come in thousands of pieces, and pieces that never become one are refused by
    nobody. Who sends more bytes than all messages that it may send would have is held back.
    """

    __slots__ = ("_at", "_left", "_loop", "_most", "_parser", "_per_s", "_protocol")

    def __init__(self, parser: WebSocketReader, protocol: BaseProtocol, limits: Limits) -> None:
        self._parser, self._protocol = parser, protocol
        self._loop = asyncio.get_running_loop()
        size = limits.message_bytes + _HEAD_BYTES
        self._per_s, self._most = limits.messages_per_s * size, float(limits.burst * size)
        self._left, self._at = self._most, self._loop.time()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        now = self._loop.time()
        gained = (now - self._at) * self._per_s
        self._left, self._at = min(self._left + gained, self._most) - len(data), now
        if self._left < 0:
            self._protocol.pause_reading()
            self._loop.call_later(-self._left / self._per_s, self._protocol.resume_reading)
        return self._parser.feed_data(data)

    def feed_eof(self) -> None:
        self._parser.feed_eof()


class PushWebSocket(web.WebSocketResponse[Literal[False]]):
    """Messages go to whoever is given to `listen`; `async for` gives what is left."""

    def __init__(self, *, protocols: tuple[str, ...], limits: Limits, heartbeat_s: float) -> None:
        super().__init__(
            protocols=protocols,
            # aiohttp refuses what reaches this size, we what exceeds ours.
            max_msg_size=limits.message_bytes + 1,
            # Where messages are pushed, so are signs of life: the gateway itself then sees to it.
            heartbeat=None if PUSHING else heartbeat_s,
            compress=False,
            decode_text=False,
            timeout=CLOSE_S,
        )
        self._limits = limits
        self._early: list[tuple[bytes, bool]] = []
        self._receive: Receive = self._keep
        self._alive: Alive = _nothing

    def listen(self, receive: Receive, alive: Alive) -> None:
        """Hand messages to `receive`, from the first one on, and tell `alive` of signs of life."""
        self._receive, self._alive = receive, alive
        if isinstance(self._reader, _PushQueue):
            # Without a detour through here: this is the way of every message.
            self._reader.push = receive
        early, self._early = self._early, []
        for data, text in early:
            receive(data, text)

    def received(self, data: bytes, text: bool) -> None:
        """A message that came through `async for`."""
        self._receive(data, text)

    async def hang_up(self, transport: asyncio.Transport, close: Close | None) -> None:
        """Close as `close` says, waiting a little for the client to have read why; None: it is
        closed already. In any case nothing is left of the socket afterwards."""
        try:
            if close is not None:
                async with asyncio.timeout(2 * CLOSE_S):
                    await self.close(code=close.code, message=close.slug.encode())
        except TimeoutError:
            log.debug("gateway.close_unanswered", slug=close.slug if close else None)
        finally:
            self._forget()
            if transport.get_write_buffer_size() > LOW:
                # Nobody reads this any more; the kernel would keep it for many minutes.
                transport.abort()

    def _forget(self) -> None:
        """Leave no cycle of references behind: thousands of sockets may vanish in one moment, and
        collecting their remains would stop the loop for a second."""
        self._receive, self._alive = _ignore, _nothing
        reader = self._reader
        if isinstance(reader, _PushQueue):
            reader.push, reader.alive = _ignore, _nothing
        if (error := self.exception()) is not None:
            # Its own frames lead back here, and so do those of what it came of.
            error.__traceback__ = error.__context__ = error.__cause__ = None

    def _keep(self, data: bytes, text: bool) -> None:
        # What came with the handshake in one packet, so no more than that holds.
        self._early.append((data, text))

    def _post_start(self, request: web.BaseRequest, protocol: str | None, writer: Any) -> None:
        if not PUSHING:
            super()._post_start(request, protocol, writer)
            return
        self._ws_protocol = protocol
        self._writer = writer
        loop = asyncio.get_running_loop()
        queue = _PushQueue(request.protocol, _QUEUE_LIMIT, loop=loop)
        queue.push, queue.alive = self._keep, lambda: self._alive()
        self._reader = queue
        self._parser = WebSocketReader(queue, self._max_msg_size, compress=False, decode_text=False)
        meter = _Meter(self._parser, request.protocol, self._limits)
        request.protocol.set_parser(meter)  # type: ignore[arg-type]
        request.protocol.keep_alive(False)


def fault(error: object) -> Close:
    """How to close a socket whose client has broken the WebSocket protocol with `error`."""
    if isinstance(error, WebSocketError) and error.code == WSCloseCode.MESSAGE_TOO_BIG:
        return TOO_BIG
    return VIOLATION


def _ignore(_data: bytes, _text: bool) -> None:
    """Takes what comes after the end."""


def _nothing() -> bool:
    """Takes signs of life that nobody waits for."""
    return True


def _as_expected() -> bool:
    """Whether this aiohttp can be pushed: its method is as we override it, and a frame that is fed
    to its parser comes out at `push`."""
    try:
        parameters = list(signature(web.WebSocketResponse._post_start).parameters)  # noqa: SLF001
        state = ("_ws_protocol", "_writer", "_reader", "_parser")
        if parameters != ["self", "request", "protocol", "writer"] or not all(
            hasattr(web.WebSocketResponse, name) for name in state
        ):
            return False
        heard: list[tuple[bytes, bool]] = []
        queue = _PushQueue(None, _QUEUE_LIMIT, loop=None)  # type: ignore[arg-type]
        queue.push = lambda data, text: heard.append((data, text))
        parser = WebSocketReader(queue, 16, compress=False, decode_text=False)
        parser.feed_data(b"\x81\x02hi\x82\x01!")
    except (AttributeError, TypeError, ValueError):
        return False
    return heard == [(b"hi", True), (b"!", False)]


PUSHING: Final = _as_expected()
