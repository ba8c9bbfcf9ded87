"""Where connections stand that have not asked for a WebSocket: no more of them than fit.

Some say nothing, or a byte a minute. Those are given up after a while, here or by aiohttp; and
whenever too many stand around, the one that has stood there for longest has to go: that one is
hardly ever the well-behaved client, which has asked for what it wants within a moment.
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
    """Makes the protocols for new connections. `take` may take one over with the first that it has
    said; those that it leaves get what `server` makes for them."""

    def __init__(
        self,
        take: Callable[[asyncio.Transport, bytes], bool],
        server: Callable[[], asyncio.Protocol],
        metrics: Metrics,
        patience_s: float = REQUEST_S,
    ) -> None:
        self.take, self.server = take, server
        self._metrics, self._patience_s = metrics, patience_s
        # In the order of their coming.
        self._visitors: dict[Visitor, None] = {}

    def __len__(self) -> int:
        return len(self._visitors)

    def __call__(self) -> asyncio.Protocol:
        return Visitor(self)

    def come(self, visitor: "Visitor") -> asyncio.TimerHandle:
        """Whoever is still silent when the timer ends has to go."""
        if len(self._visitors) >= VISITORS:
            oldest = next(iter(self._visitors))
            del self._visitors[oldest]
            self._metrics.turned_away_idle.inc()
            log.debug("doorstep.full", visitors=VISITORS)
            oldest.transport.abort()
        self._visitors[visitor] = None
        return asyncio.get_running_loop().call_later(self._patience_s, visitor.transport.abort)

    def go(self, visitor: "Visitor") -> None:
        self._visitors.pop(visitor, None)

    def close(self) -> None:
        """Cut those who have said nothing; the others are the server's."""
        for visitor in list(self._visitors):
            if visitor.silent:
                visitor.transport.abort()


class Visitor(asyncio.Protocol):
    """One connection, until it is known what it wants."""

    __slots__ = ("_doorstep", "_said", "_server", "_silence", "transport")

    def __init__(self, doorstep: Doorstep) -> None:
        self._doorstep = doorstep
        self._server: asyncio.Protocol | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._said = b""

    @property
    def silent(self) -> bool:
        """Whether it has said nothing yet."""
        return self._server is None and not self._said

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none by name.
        self.transport = cast("asyncio.Transport", transport)
        self._silence = self._doorstep.come(self)

    def data_received(self, data: bytes) -> None:
        if self._server is not None:
            self._server.data_received(data)
            return
        if not self._said:
            self._hush()
            # It may have gone while this node was asleep, and come back to another one: its session
            # must not be taken from there. Its end is heard of in the turn after this, so it is
            # looked at in the one after that.
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._decide)
        self._said += data

    def _decide(self) -> None:
        """Whose is it, now that it has said something and is still there?"""
        if self.transport.is_closing():
            return
        said, self._said = self._said, b""
        if self._doorstep.take(self.transport, said):
            self._doorstep.go(self)
            return
        self._server = self._doorstep.server()
        self._server.connection_made(self.transport)
        self._server.data_received(said)

    def enter(self) -> None:
        """It stands here no more: what happens to it from now on is the server's alone."""
        self._doorstep.go(self)
        if self._server is not None:
            self.transport.set_protocol(self._server)

    def _hush(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._hush()
        self._doorstep.go(self)
        if self._server is not None:
            self._server.connection_lost(exc)

    def eof_received(self) -> bool | None:
        return None if self._server is None else self._server.eof_received()

    def pause_writing(self) -> None:
        if self._server is not None:
            self._server.pause_writing()

    def resume_writing(self) -> None:
        if self._server is not None:
            self._server.resume_writing()


def enter(transport: asyncio.BaseTransport) -> None:
    """Whoever is connected by `transport` is a visitor no more."""
    visitor = transport.get_protocol()
    if isinstance(visitor, Visitor):
        visitor.enter()
