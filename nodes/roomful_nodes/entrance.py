"""Sockets over HTTP: a request becomes a conversation.

Most clients' requests come whole, in one packet, and need not wait: those are answered here, with
nothing of aiohttp's. All others go the long way, through aiohttp, which takes three times as much
of everything and knows all of HTTP: requests in pieces or behind another, those that are refused,
and those that wait for their turn. From the handshake on there is no difference.
"""

import asyncio
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import structlog
from aiohttp import web

from roomful_nodes.admission import Admission, Crowded
from roomful_nodes.doorstep import enter
from roomful_nodes.gateway import Gateway
from roomful_nodes.handshake import answer_to, offered_codec, origin_allowed
from roomful_nodes.head import PATH, Fields, fields_of, read_head
from roomful_nodes.metrics import Metrics
from roomful_nodes.outbox import CLOSE_S
from roomful_nodes.pages import Pages
from roomful_nodes.settings import NodeSettings
from roomful_nodes.websocket import Pace, WebSocket
from roomful_protocol.codecs import CODECS, Codec

WEB: Final = Path(__file__).parent / "web"

log = structlog.get_logger()


class _Asked(NamedTuple):
    """A request for a WebSocket that can be answered: who asks for it, in what it is spoken."""

    codec: Codec
    answer: bytes
    query: Collection[tuple[str, str]]


class Entrance:
    """Where clients of a gateway come in: `/ws`, and the page."""

    def __init__(self, gateway: Gateway, settings: NodeSettings, metrics: Metrics) -> None:
        self._gateway, self._settings = gateway, settings
        self._loop = asyncio.get_running_loop()
        self._admission = Admission(settings.limit_connects_per_s, self._loop, metrics)
        self._pace = Pace(settings.limits)
        self._sockets: set[WebSocket] = set()
        # Made once, not for each socket.
        self._over, self._left = gateway.end, self._leave
        self._empty = asyncio.Event()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get(PATH, self._connect)
        Pages(WEB).add_routes(router)

    async def close(self) -> None:
        """Wait for the sockets to be closed, as their clients have been asked; cut those of whom
        that was not enough."""
        try:
            async with asyncio.timeout(CLOSE_S):
                while self._sockets:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            for socket in self._sockets:
                socket.abort()

    # -- the short way -----------------------------------------------------------------------------

    def take(self, transport: asyncio.Transport, said: bytes) -> bool:
        """Let in who has `said` nothing but that it wants a WebSocket, if that can be done now;
        False if not: then nothing has happened."""
        head = read_head(said)
        if head is None:
            return False
        try:
            asked = self._asked(head.fields, head.query)
        except web.HTTPException:
            return False
        if self._gateway.draining or not self._admission.at_once():
            return False
        self._open(transport, asked, head.rest)
        return True

    # -- the long way ------------------------------------------------------------------------------

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        """Answer over HTTP what can be answered so, and take the connection from aiohttp else."""
        try:
            asked = self._asked(fields_of(request.headers.items()), request.query.items())
        except web.HTTPForbidden:
            origin = request.headers.get("Origin")
            log.warning("gateway.origin_refused", origin=origin, host=request.host)
            raise
        if request.body_exists:
            raise web.HTTPBadRequest(text="A request for a WebSocket has no body.")
        if request.transport is not None:
            enter(request.transport)
        await self._turn()
        transport = request.transport
        if transport is None or transport.is_closing():
            self._admission.give_back()
            # aiohttp finds out with another answer, and keeps quiet.
            raise _later("You have gone.", 1)
        self._open(transport, asked, _released(request.protocol))
        return web.Response()

    async def _turn(self) -> None:
        """Wait to be let in. Raises what the client is told if too many do."""
        try:
            await self._admission.turn()
        except Crowded as crowded:
            raise _later(str(crowded), crowded.after_s) from None
        if self._gateway.draining:
            raise _later("This node is going away.", 1)

    # -- both --------------------------------------------------------------------------------------

    def _asked(self, fields: Fields, query: Collection[tuple[str, str]]) -> _Asked:
        """What a client wants. Raises what it is told instead, as HTTP."""
        origin, host = fields.get("origin"), fields.get("host", "")
        if not origin_allowed(origin, host, self._settings.allowed_origins):
            raise web.HTTPForbidden(text="Pages of this origin may not connect here.")
        codec = offered_codec(fields)
        if codec is None:
            raise web.HTTPBadRequest(text=f"Sub-protocols spoken here: {', '.join(CODECS)}.")
        try:
            return _Asked(codec, answer_to(fields, codec), query)
        except ValueError as problem:
            raise web.HTTPBadRequest(text=str(problem)) from None

    def _open(self, transport: asyncio.Transport, asked: _Asked, early: bytes) -> None:
        """From here on it is a WebSocket; `early`: what has come over it already."""
        socket = WebSocket(transport, asked.codec, self._pace, over=self._over, left=self._left)
        self._sockets.add(socket)
        transport.set_protocol(socket)
        socket.outbox.write(asked.answer)
        peer = partial(_peer, transport)
        try:
            conversation = self._gateway.begin(asked.query, socket.outbox, peer)
        except Exception:
            # A bug of ours: a socket without a conversation would be nobody's.
            socket.abort()
            raise
        if conversation is not None:
            socket.listen(conversation)
        if early:
            socket.data_received(early)

    def _leave(self, socket: WebSocket) -> None:
        self._sockets.discard(socket)
        if not self._sockets:
            self._empty.set()


def _peer(transport: asyncio.Transport) -> str | None:
    """The address at the other end. The kernel is asked for it."""
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else None


class _Rest:
    """Takes what aiohttp has read past the request."""

    data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """The end of it."""


def _released(handler: web.RequestHandler) -> bytes:
    """Make aiohttp forget a connection, whose request it has read, without closing it; what it has
    read of it past the request."""
    rest = _Rest()
    handler.set_parser(rest)  # type: ignore[arg-type]
    handler.transport = None
    handler.connection_lost(None)
    return rest.data


def _later(why: str, after_s: int) -> web.HTTPServiceUnavailable:
    """Come again, here or to another node, after so many seconds."""
    headers = {"Retry-After": str(after_s), "Connection": "close"}
    return web.HTTPServiceUnavailable(text=why, headers=headers)
