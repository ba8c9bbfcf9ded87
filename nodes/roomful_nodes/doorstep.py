"""Where connections stand that have not asked for a WebSocket: no more of them than fit.

Some say nothing, or a byte a minute. aiohttp gives them up after a while; here, whenever too many
stand around, the one that has stood there for longest has to go: that one is hardly ever the
well-behaved client, which has asked for what it wants within a moment.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

import structlog

from roomful_nodes.metrics import Metrics

VISITORS: Final = 4096
"""Connections that may stand here at a time."""
REQUEST_S: Final = 15.0
"""Within this time a whole request must have come, and the next one after it."""

log = structlog.get_logger()


class Doorstep:
    """Makes the protocols for new connections; `server` makes those that it puts behind."""

    def __init__(self, server: Callable[[], asyncio.Protocol], metrics: Metrics) -> None:
        self._server, self._metrics = server, metrics
        # In the order of their coming.
        self._visitors: dict[Visitor, None] = {}

    def __len__(self) -> int:
        return len(self._visitors)

    def __call__(self) -> asyncio.Protocol:
        return Visitor(self, self._server())

    def come(self, visitor: "Visitor") -> None:
        if len(self._visitors) >= VISITORS:
            oldest = next(iter(self._visitors))
            del self._visitors[oldest]
            self._metrics.turned_away_idle.inc()
            log.debug("doorstep.full", visitors=VISITORS)
            oldest.transport.abort()
        self._visitors[visitor] = None

    def go(self, visitor: "Visitor") -> None:
        self._visitors.pop(visitor, None)


class Visitor(asyncio.Protocol):
    """One connection: all that happens to it is passed on to the `server`."""

    def __init__(self, doorstep: Doorstep, server: asyncio.Protocol) -> None:
        self._doorstep, self._server = doorstep, server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none by name.
        self.transport = cast("asyncio.Transport", transport)
        self._doorstep.come(self)
        self._server.connection_made(transport)

    def enter(self) -> None:
        """It stands here no more: what happens to it from now on is the server's alone."""
        self._doorstep.go(self)
        self.transport.set_protocol(self._server)

    def connection_lost(self, exc: Exception | None) -> None:
        self._doorstep.go(self)
        self._server.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._server.data_received(data)

    def eof_received(self) -> bool | None:
        return self._server.eof_received()

    def pause_writing(self) -> None:
        self._server.pause_writing()

    def resume_writing(self) -> None:
        self._server.resume_writing()


def enter(transport: asyncio.BaseTransport) -> None:
    """Whoever is connected by `transport` is a visitor no more."""
    visitor = transport.get_protocol()
    if isinstance(visitor, Visitor):
        visitor.enter()
