"""Where connections stand that have not asked for a WebSocket: no more of them than fit.

Some say nothing, or a byte a minute. Those are given up after a while, here or by aiohttp; and
whenever too many stand around, the one that has stood there for longest has to go: that one is
hardly ever the well-behaved client, which has asked for what it wants within a moment.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

import structlog

from roomful_nodes.delays import Delays
from roomful_nodes.metrics import Metrics

VISITORS: Final = 4096
"""Connections that may stand here at a time."""
REQUEST_S: Final = 15.0
"""Within this time a whole request must have come, and the next one after it."""
SAID_BYTES: Final = 2**16
"""Whoever has said more is not listened to any further until somebody has looked at it."""
PACE_S: Final = 0.002
"""Whoever comes so soon after others is looked at together with those who come then: what a crowd
needs of the broker is asked for at once, and what is done for each is done by warm caches. One who
comes alone waits for nobody."""
LONGEST_S: Final = 0.05
"""After a crowd that took longer to look at, the next one is waited for as long again, but no
longer than this: under load crowds are large, and few, and what they cause gets its turn."""
AT_A_TIME: Final = 64
"""Between so many of a crowd all else has its turn: some 10 ms."""

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
        self._loop = asyncio.get_running_loop()
        self._metrics = metrics
        # In the order of their coming; and the patience with those who have said nothing yet.
        self._visitors: dict[Visitor, None] = {}
        self._silent = Delays[Visitor](patience_s, Visitor.cut, self._loop)
        # Those who have just said something, and when the next of them are looked at.
        self._asking: list[Visitor] = []
        self._next = 0.0
        self._looking = False

    def __len__(self) -> int:
        return len(self._visitors)

    def __call__(self) -> asyncio.Protocol:
        return Visitor(self)

    def come(self, visitor: "Visitor") -> None:
        """Somebody stands here, and has to go unless it says something in time."""
        if len(self._visitors) >= VISITORS:
            oldest = next(iter(self._visitors))
            self.go(oldest)
            self._metrics.turned_away_idle.inc()
            log.debug("doorstep.full", visitors=VISITORS)
            oldest.cut()
        self._visitors[visitor] = None
        self._silent.begin(visitor)

    def go(self, visitor: "Visitor") -> None:
        self._visitors.pop(visitor, None)
        self._silent.call_off(visitor)

    def asks(self, visitor: "Visitor") -> None:
        """A visitor has said something: look at what it is, soon."""
        self._silent.call_off(visitor)
        self._asking.append(visitor)
        if len(self._asking) == 1 and not self._looking:
            self._look()

    def _look(self) -> None:
        """Look at those who ask, when it is time for that."""
        if self._loop.time() < self._next:
            self._loop.call_at(self._next, self._look)
            return
        self._looking = True
        # Some may have gone while this node was asleep, and come back to another one: their
        # sessions must not be taken from there. Of an end is heard in the turn after this, so all
        # are looked at in the one after that; but not those who say something in between.
        self._loop.call_soon(self._gather)

    def _gather(self) -> None:
        asking, self._asking = self._asking, []
        self._loop.call_soon(self._decide, asking)

    def _looked(self, began: float) -> None:
        now = self._loop.time()
        self._next = now + min(max(now - began, PACE_S), LONGEST_S)
        self._looking = False
        if self._asking:
            self._look()

    def _decide(self, asking: list["Visitor"]) -> None:
        later = asking[AT_A_TIME:]
        if later:
            self._loop.call_soon(self._decide, later)
        else:
            # In the next turn, as a loop's time stands still within one. Of a crowd in parts only
            # the last one counts: in between was done what the others caused.
            self._loop.call_soon(self._looked, self._loop.time())
        for visitor in asking[:AT_A_TIME]:
            try:
                visitor.decide()
            except Exception:
                # A bug of ours, for which the others of the crowd must not wait for ever.
                log.exception("doorstep.failed")
                self.go(visitor)
                visitor.cut()

    def close(self) -> None:
        """Cut those at whom nobody has looked yet; the others are the server's."""
        self._silent.close()
        for visitor in list(self._visitors):
            if visitor.unseen:
                visitor.cut()


class Visitor(asyncio.Protocol):
    """One connection, until it is known what it wants."""

    __slots__ = ("_doorstep", "_said", "_server", "transport")

    def __init__(self, doorstep: Doorstep) -> None:
        self._doorstep = doorstep
        self._server: asyncio.Protocol | None = None
        self._said = b""

    @property
    def unseen(self) -> bool:
        """Whether nobody has looked yet at what it wants."""
        return self._server is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none by name.
        self.transport = cast("asyncio.Transport", transport)
        self._doorstep.come(self)

    def data_received(self, data: bytes) -> None:
        if self._server is not None:
            self._server.data_received(data)
            return
        if not self._said:
            self._doorstep.asks(self)
        self._said += data
        if len(self._said) > SAID_BYTES:
            self.transport.pause_reading()

    def decide(self) -> None:
        """Whose is it, now that it has said something and is still there?"""
        if self.transport.is_closing():
            return
        said, self._said = self._said, b""
        if len(said) > SAID_BYTES:
            self.transport.resume_reading()
        if self._doorstep.take(self.transport, said):
            self._doorstep.go(self)
            return
        self._server = self._doorstep.server()
        self._server.connection_made(self.transport)
        self._server.data_received(said)

    def cut(self) -> None:
        """It has stood here for too long, or cannot be served."""
        self.transport.abort()

    def enter(self) -> None:
        """It stands here no more: what happens to it from now on is the server's alone."""
        self._doorstep.go(self)
        if self._server is not None:
            self.transport.set_protocol(self._server)

    def connection_lost(self, exc: Exception | None) -> None:
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
