"""One WebSocket: what its frames carry is passed on, and its closing is seen through.

It is its transport's protocol, and no task waits for it: waking one per message would cost as much
as all the rest of the way in, and keeping one a third of a connection's memory. Bytes go through
aiohttp's frame parser, which is written in C, and messages straight to the conversation.
"""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

import structlog
from aiohttp import WebSocketError, WSCloseCode, WSMsgType
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http_websocket import WebSocketReader

from roomful_nodes.conversation import Conversation
from roomful_nodes.outbox import CLOSE_S, GONE, LOW, Outbox, framed
from roomful_protocol.codecs import Codec
from roomful_protocol.errors import TOO_BIG, VIOLATION, Close
from roomful_protocol.frames import Limits

Receive = Callable[[bytes, bool], None]
"""Takes one message and whether it came as text. Must not raise."""

_TEXT: Final = WSMsgType.TEXT
_BINARY: Final = WSMsgType.BINARY
_CLOSE: Final = 8
_PONG: Final = 10
_CLEAN: Final = framed((1000).to_bytes(2, "big"), _CLOSE)
_HEAD_BYTES: Final = 14
"""Of each frame, at most."""

log = structlog.get_logger()


class Pace:
    """How fast any client is read, in bytes; the same for all, and so computed once.

    A message may come in thousands of pieces, and pieces that never become one are refused by
    nobody. Who sends more bytes than all messages that it may send would have is held back.
    """

    __slots__ = ("burst_s", "byte_s", "message")

    def __init__(self, limits: Limits) -> None:
        # Each byte takes so long, and so much may come early.
        self.byte_s = 1 / (limits.messages_per_s * (limits.message_bytes + _HEAD_BYTES))
        self.burst_s = limits.burst / limits.messages_per_s
        # aiohttp refuses what reaches this size, we what exceeds ours.
        self.message = limits.message_bytes + 1


class _Inbox(WebSocketDataQueue):
    """Where the parser puts what it has found. Nothing is kept in it: its base, a queue, is never
    set up, which would take more memory than all the rest of the socket."""

    __slots__ = ("push", "socket")

    # Never full, for the parser that looks.
    _size = _limit = 0

    socket: "WebSocket | None"

    def __init__(self, socket: "WebSocket", push: Receive) -> None:
        self.push, self.socket = push, socket

    def feed_data(self, data: Any, size: int) -> None:
        kind = data[0]
        if kind is _TEXT:
            self.push(data[1], True)
        elif kind is _BINARY:
            self.push(data[1], False)
        elif self.socket is not None:
            self.socket.heard(kind, data[1])

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        if self.socket is not None:
            self.socket.broken(exc)


class WebSocket(asyncio.Protocol):
    """An open socket. `over` is told when nobody can be heard over it any more, `left` when it is
    closed; each once."""

    __slots__ = (
        "_closing", "_conversation", "_deaf", "_due_at", "_inbox", "_left", "_loop", "_over",
        "_pace", "_parser", "_timer", "_transport", "outbox",
    )  # fmt: skip

    def __init__(
        self,
        transport: asyncio.Transport,
        codec: Codec,
        pace: Pace,
        *,
        over: Callable[[Conversation], None],
        left: Callable[["WebSocket"], None],
    ) -> None:
        self._transport, self._pace, self._over, self._left = transport, pace, over, left
        self._loop = asyncio.get_running_loop()
        self.outbox = Outbox(transport, codec, self._end, plain_fd)
        self._conversation: Conversation | None = None
        # Made when the first frame comes: many clients only listen, and all do so at first.
        self._inbox: _Inbox | None = None
        self._parser: WebSocketReader | None = None
        # By when a client that keeps the pace would have sent all that was read.
        self._due_at = self._loop.time()
        # Ends a pause in reading; after a Close of ours, the patience with the client.
        self._timer: asyncio.TimerHandle | None = None
        self._closing = self._deaf = False

    def listen(self, conversation: Conversation) -> None:
        """Have `conversation` hear what is said over this socket, from the first on."""
        self._conversation = conversation

    # -- reading -----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        now, due_at, pace = self._loop.time(), self._due_at, self._pace
        if due_at < now:
            due_at = now
        self._due_at = due_at = due_at + len(data) * pace.byte_s
        early_s = due_at - now - pace.burst_s
        if early_s > 0 and not self._closing:
            self._transport.pause_reading()
            self._wait(early_s, self._transport.resume_reading)
        parser = self._parser or self._made_parser()
        if self._conversation is not None:
            self._conversation.hear()
        parser.feed_data(data)
        if self._conversation is not None:
            self._conversation.look()

    def _made_parser(self) -> WebSocketReader:
        # Without a detour through here: this is the way of every message.
        push = _ignore if self._conversation is None else self._conversation.receive
        self._inbox = inbox = _Inbox(self, push)
        self._parser = parser = WebSocketReader(
            inbox, self._pace.message, compress=False, decode_text=False
        )
        return parser

    def heard(self, kind: WSMsgType, payload: bytes) -> None:
        """A frame that is no message."""
        if kind is WSMsgType.CLOSE:
            self._client_closes()
            return
        conversation = self._conversation
        if conversation is not None and conversation.alive() and kind is WSMsgType.PING:
            self.outbox.write(framed(payload, _PONG))

    def broken(self, error: BaseException) -> None:
        """What came is no WebSocket's: nothing after it can be understood."""
        self._deaf = True
        conversation = self._conversation
        if conversation is None:
            return
        if not isinstance(error, WebSocketError):
            # A bug of ours, as it was not to raise.
            session = conversation.session
            log.error("session.frame_failed", session=session.id, user=session.user, exc_info=error)
        conversation.end(_fault(error))

    # -- closing -----------------------------------------------------------------------------------

    def _end(self) -> None:
        """The node wants it closed. Whoever says so stands in the middle of something: so later."""
        self._loop.call_soon(self._close)

    def _close(self) -> None:
        """Close as the outbox says, waiting a little for the client to have read why."""
        close = self.outbox.close
        if self._closing or close is None:
            return
        self._part()
        self._write(framed(close.code.to_bytes(2, "big") + close.slug.encode(), _CLOSE))
        much = self._transport.get_write_buffer_size() > LOW
        self._wait(2 * CLOSE_S if much else CLOSE_S, self._unanswered, close.slug)

    def _client_closes(self) -> None:
        if not self._closing:
            self._part()
            self._write(_CLEAN)
        self._shut()

    def _unanswered(self, slug: str) -> None:
        log.debug("gateway.close_unanswered", slug=slug)
        self._shut()

    def _shut(self) -> None:
        self._deaf = True
        self._rest()
        if self._transport.get_write_buffer_size() > LOW:
            # Nobody reads this any more; the kernel would keep it for many minutes.
            self._transport.abort()
        else:
            self._transport.close()
            # What is unsent is waited for, but not for ever.
            self._wait(CLOSE_S, self._transport.abort)

    def eof_received(self) -> None:
        """Nothing more is said: who has no Close to say has gone."""
        self._part()
        self._shut()

    def abort(self) -> None:
        """Close at once, whatever is unsent."""
        self._transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._part()
        self._rest()
        # No cycle of references may be left: thousands of sockets may vanish in one moment, and
        # collecting their remains would stop the loop for a second.
        if self._inbox is not None:
            self._inbox.socket = None
        self._left(self)

    def _part(self) -> None:
        """Nothing is heard from here any more."""
        self._closing = True
        if self._inbox is not None:
            self._inbox.push = _ignore
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            try:
                self._over(conversation)
            except Exception as bug:
                # Of ours; the socket must be closed all the same, and be forgotten.
                session = conversation.session
                log.error("session.end_failed", session=session.id, user=session.user, exc_info=bug)
        self.outbox.shut()

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self, seconds: float, then: Callable[..., None], *arguments: str) -> None:
        self._rest()
        self._timer = self._loop.call_later(seconds, then, *arguments)

    def _write(self, data: bytes) -> None:
        with suppress(*GONE):
            self._transport.write(data)


def plain_fd(transport: asyncio.Transport) -> int:
    """That of the transport's socket, if bytes go into it as they are written; else -1."""
    made = transport.get_extra_info("socket")
    encrypted = transport.get_extra_info("sslcontext") is not None
    # On Windows, sockets are no files.
    if made is None or encrypted or sys.platform == "win32":
        return -1
    return cast("int", made.fileno())


def _fault(error: BaseException) -> Close:
    """How to close a socket whose client has broken the WebSocket protocol with `error`."""
    if isinstance(error, WebSocketError) and error.code == WSCloseCode.MESSAGE_TOO_BIG:
        return TOO_BIG
    return VIOLATION


def _ignore(_data: bytes, _text: bool) -> None:
    """Takes what nobody listens to."""
