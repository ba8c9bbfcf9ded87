"""Sockets over HTTP: a request becomes a conversation, and its frames are passed on."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from aiohttp import WSMsgType, web

from roomful_nodes.admission import Admission, Crowded
from roomful_nodes.doorstep import enter
from roomful_nodes.gateway import Gateway
from roomful_nodes.handshake import offered_codec, origin_allowed
from roomful_nodes.metrics import Metrics
from roomful_nodes.outbox import Outbox
from roomful_nodes.pages import Pages
from roomful_nodes.settings import NodeSettings
from roomful_nodes.websocket import PUSHING, PushWebSocket, fault
from roomful_protocol.codecs import CODECS, Codec

WEB: Final = Path(__file__).parent / "web"

log = structlog.get_logger()


class Entrance:
    """Where clients of a gateway come in: `/ws`, and the page."""

    def __init__(self, gateway: Gateway, settings: NodeSettings, metrics: Metrics) -> None:
        self._gateway, self._settings = gateway, settings
        loop = asyncio.get_running_loop()
        self._admission = Admission(settings.limit_connects_per_s, loop, metrics)

    def add_routes(self, router: web.UrlDispatcher) -> None:
        router.add_get("/ws", self._connect)
        Pages(WEB).add_routes(router)

    def watch(self) -> None:
        """Have silent sockets noticed, by the gateway or by aiohttp."""
        if PUSHING:
            self._gateway.watch_hearts()
        else:
            log.warning("gateway.slow", reason="this aiohttp is not built as expected")

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        """The whole life of one socket."""
        codec = self._admitted(request)
        if request.transport is not None:
            enter(request.transport)
        await self._turn()
        ws = PushWebSocket(
            protocols=tuple(CODECS),
            limits=self._settings.limits,
            heartbeat_s=self._settings.heartbeat_s,
        )
        try:
            await ws.prepare(request)
        except ConnectionResetError:
            # It has gone in the meantime: aiohttp finds out with another answer, and keeps quiet.
            raise _later("You have gone.", 1) from None
        transport = request.transport
        if transport is None:
            return ws
        outbox = None
        try:
            async with asyncio.timeout(None) as listening:
                outbox = Outbox(transport, codec, partial(_stop, listening))
                await self._converse(request, ws, outbox)
        except TimeoutError:
            if outbox is None or outbox.close is None:
                raise
        finally:
            await ws.hang_up(transport, None if outbox is None else outbox.close)
        return ws

    def _admitted(self, request: web.Request) -> Codec:
        """The codec to speak with this client. Raises what it is told instead, as HTTP."""
        origin = request.headers.get("Origin")
        if not origin_allowed(origin, request.host, self._settings.allowed_origins):
            log.warning("gateway.origin_refused", origin=origin, host=request.host)
            raise web.HTTPForbidden(text="Pages of this origin may not connect here.")
        codec = offered_codec(request.headers.get("Sec-WebSocket-Protocol"))
        if codec is None:
            raise web.HTTPBadRequest(text=f"Sub-protocols spoken here: {', '.join(CODECS)}.")
        return codec

    async def _turn(self) -> None:
        """Wait to be let in. Raises what the client is told if too many do."""
        try:
            await self._admission.turn()
        except Crowded as crowded:
            raise _later(str(crowded), crowded.after_s) from None
        if self._gateway.draining:
            raise _later("This node is going away.", 1)

    async def _converse(self, request: web.Request, ws: PushWebSocket, outbox: Outbox) -> None:
        """Until the socket is closed, or has to be."""
        conversation = self._gateway.begin(request.query.items(), outbox, request.remote)
        if conversation is None:
            return
        ws.listen(conversation.receive, conversation.alive)
        try:
            async for message in ws:
                if message.type is WSMsgType.ERROR:
                    # Either the client's fault, or the socket is closed already.
                    if not ws.closed:
                        conversation.end(fault(message.data))
                    break
                ws.received(message.data, message.type is WSMsgType.TEXT)
        finally:
            self._gateway.end(conversation)


def _later(why: str, after_s: int) -> web.HTTPServiceUnavailable:
    """Come again, here or to another node, after so many seconds."""
    headers = {"Retry-After": str(after_s), "Connection": "close"}
    return web.HTTPServiceUnavailable(text=why, headers=headers)


def _stop(listening: asyncio.Timeout) -> None:
    """Have the reader of a socket stop reading, in the next turn of the loop."""
    listening.reschedule(asyncio.get_running_loop().time())
