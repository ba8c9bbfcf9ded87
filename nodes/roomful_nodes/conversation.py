"""One open socket of a session: from hello to bye, and everything that the client says between.

Frames come in as the parser pushes them, in order, and are passed on at once; answers come when
they come. Nothing that a client sends raises from here.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog

from roomful_nodes.auth import Identity
from roomful_nodes.membership import Membership
from roomful_nodes.outbox import HIGH, Outbox, Stalled, framed
from roomful_nodes.rate import ASK_BYTES, BYTES, Credit, Rate
from roomful_nodes.requests import Requests
from roomful_nodes.services import Services
from roomful_nodes.session import Session
from roomful_protocol import frames
from roomful_protocol.codecs import TEXT, wrong_kind
from roomful_protocol.codecs.events import hello_frame
from roomful_protocol.errors import (
    CLEAN,
    HEARTBEAT,
    OVERLOADED,
    TOKEN_EXPIRED,
    TOO_SLOW,
    Close,
    Code,
    Refused,
)
from roomful_protocol.frames import (
    Auth,
    Bye,
    ClientFrame,
    History,
    Join,
    Leave,
    Members,
    Ping,
    Say,
)
from roomful_protocol.ids import RoomName

PING: Final = framed(b"", 9)
LONGEST_TIMER_S: Final = 86_400.0
FLOODED_MS: Final = (1000, 10_000)
"""When a client that was closed for flooding may come again."""

log = structlog.get_logger()


class Conversation:
    """The session's line while it is open."""

    __slots__ = (
        "_credit", "_expiry", "_heard_at", "_identity", "_now", "_pinged_at", "_rate", "_requests",
        "_services", "_signs", "_text", "_unread", "_untaken", "outbox", "session",
    )  # fmt: skip

    def __init__(
        self, services: Services, session: Session, identity: Identity, outbox: Outbox
    ) -> None:
        self.session = session
        self.outbox = outbox
        self._now, self._text = services.clock.monotonic, outbox.codec.opcode == TEXT
        self._heard_at = self._now()
        self._pinged_at, self._untaken = 0.0, 0
        self._services = services
        self._identity = identity
        # Of messages, and of pings and pongs, which are none, but must not be endless either. From
        # the first of each: many clients only listen.
        self._rate: Rate | None = None
        self._signs: Rate | None = None
        self._credit = Credit(outbox)
        self._requests = Requests(services, session, outbox, self._credit, failed=self.end)
        self._expiry: asyncio.TimerHandle | None = None
        self._unread: asyncio.Task[None] | None = None

    @property
    def rooms(self) -> Mapping[RoomName, Membership]:
        """The rooms that the client has joined over this socket."""
        return self._requests.rooms

    # -- its life ----------------------------------------------------------------------------------

    def greet(self, *, resumed: bool) -> None:
        """Say hello, and watch the token's end. `resumed`: the session is not a new one."""
        self._requests.resumed = resumed
        services, session = self._services, self.session
        data = {
            "session": session.id,
            "secret": session.secret,
            "user": session.user,
            "name": session.name,
            "expires_s": self._expires_s(),
            "time": services.clock.wall_ms(),
        }
        self.outbox.show(hello_frame(services.greeting, data))
        self._watch_expiry()

    def join(self, join: Join) -> None:
        """Join a room as the client's query asked for."""
        try:
            self._dispatch(join, 0)
        except Exception as failure:
            self._fail(join, failure)

    def _expires_s(self) -> float | None:
        expires_ms = self._identity.expires_ms
        return None if expires_ms is None else (expires_ms - self._services.clock.wall_ms()) / 1000

    def _watch_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        left_s = self._expires_s()
        if left_s is None:
            return
        if left_s <= 0:
            self.end(TOKEN_EXPIRED)
            return
        # Some tokens live for years, more than a timer can; and none may make it spin.
        wait_s = min(max(left_s, 0.01), LONGEST_TIMER_S)
        self._expiry = self._services.loop.call_later(wait_s, self._watch_expiry)

    def alive(self) -> bool:
        """The client has given a sign of life. False if it does so far too often to be answered."""
        self._heard_at = now = self._now()
        signs = self._signs
        if signs is None:
            signs = self._signs = self._full(now)
        if not signs.take(now):
            return True
        if signs.flooding:
            self._flooded()
        return False

    def beat(self, now: float) -> None:
        """Ask a silent client for a sign of life, or give it up. `now`: monotonic seconds."""
        if self._unread is not None:
            # It may not be silent at all: it is not listened to. `drained` has its own patience.
            return
        if now - max(self._heard_at, self._pinged_at) < self._services.heartbeat_s:
            return
        # The ping waits behind all else: to take of that is a sign of life as well.
        before, self._untaken = self._untaken, self.outbox.waiting
        if self._pinged_at > self._heard_at and self._untaken >= before:
            self.end(HEARTBEAT)
            return
        # Only a client that was asked is given up: it may be this node that was asleep.
        self._pinged_at = now
        self.outbox.write(PING)

    def show(self, *frames_json: bytes) -> None:
        self.outbox.show(*frames_json)

    def end(self, close: Close, *, delay_ms: tuple[int, int] = (0, 0)) -> None:
        """Say `bye` and have the socket closed; nothing is written after that."""
        self._let_go()
        self.outbox.end(close, delay_ms=delay_ms)

    def closed(self) -> None:
        """The socket is closed, or about to be."""
        self._let_go()
        self.outbox.shut()

    def forget(self) -> None:
        """Leave no cycle of references behind, once the session has let go of this."""
        self._requests.forget()

    def _let_go(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        for membership in self.rooms.values():
            membership.detach()

    # -- what comes in -----------------------------------------------------------------------------

    def hear(self) -> None:
        """Something was read: a sign of life, at this moment. `receive` is told what, then `look`
        that it was all."""
        self._heard_at = self._now()

    def receive(self, raw: bytes, text: bool) -> None:
        """One message of the client."""
        outbox = self.outbox
        if not outbox.open:
            return
        frame: ClientFrame | None = None
        rate = self._rate
        if rate is None:
            rate = self._rate = self._full(self._heard_at)
        wait_ms = rate.take(self._heard_at)
        try:
            if text is not self._text:
                raise wrong_kind(outbox.codec)
            frame = outbox.codec.decode(raw)
            if wait_ms:
                self._services.metrics.rate_limited.inc()
                raise Refused(Code.RATE_LIMITED, "Too many messages.", retry_after_ms=wait_ms)
            if isinstance(frame, Say):
                self._requests.send(frame, len(raw) + ASK_BYTES)
            else:
                self._dispatch(frame, len(raw) + ASK_BYTES)
        except Exception as failure:
            self._fail(frame, failure)
            if wait_ms and rate.flooding:
                self._flooded()

    def look(self) -> None:
        """All that was read at a time has been heard. Whoever has asked too much already, or does
        not read its answers, has no need to ask for more of them."""
        self._credit.look()
        outbox = self.outbox
        if outbox.waiting > HIGH and self._unread is None and outbox.open:
            waiting = self._until_read()
            self._unread = self._services.tasks.start(waiting, f"unread {self.session.id}")

    def _full(self, now: float) -> Rate:
        """A bucket from which nothing has been taken yet. `now`: monotonic seconds."""
        limits = self._services.limits
        return Rate(limits.messages_per_s, limits.burst, now)

    def _flooded(self) -> None:
        if self.outbox.open:
            log.warning("session.flooding", session=self.session.id, user=self.session.user)
            self.end(OVERLOADED, delay_ms=FLOODED_MS)

    def _fail(self, frame: ClientFrame | None, failure: Exception) -> None:
        """Tell the client why its message came to nothing. None: it is not even a frame."""
        if isinstance(failure, Refused):
            refusal = failure
        else:
            # A bug of ours: the client that found it keeps its connection.
            who = self.session
            log.error("session.frame_failed", session=who.id, user=who.user, exc_info=failure)
            told = "The node failed to handle that; it is logged."
            refusal = Refused(Code.HANDLER_FAILED, told)
        id = None if frame is None else frame.id
        room = None if frame is None or isinstance(frame, Auth | Ping | Bye) else frame.room
        self.outbox.send(frames.error(refusal, id, room))

    def _dispatch(
        self, frame: Join | Leave | History | Members | Auth | Ping | Bye, cost: int
    ) -> None:
        match frame:
            case Auth():
                self._auth(frame)
            case Ping():
                self.outbox.send(frames.pong(frame.id, self._services.clock.wall_ms()))
            case Bye():
                self.end(CLEAN)
            case Join():
                self._check_join(frame)
                self._requests.join(frame)
            case Leave():
                self._requests.leave(frame)
            case _:
                self._requests.look(frame, cost)

    def _check_join(self, join: Join) -> None:
        if join.room is not None and not self._identity.may_join(join.room):
            raise Refused(Code.FORBIDDEN, f"Your token does not let you into {join.room}.")

    def _auth(self, auth: Auth) -> None:
        identity = self._services.authenticator.verify(auth.token)
        if identity.user != self.session.user:
            raise Refused(Code.UNAUTHORIZED, "That token is another user's.")
        self._identity = identity
        self._watch_expiry()
        if auth.id is not None:
            self.outbox.send(frames.ack(auth.id, None, data={"expires_s": self._expires_s()}))

    async def _until_read(self) -> None:
        self._credit.owed += BYTES
        self._credit.look()
        try:
            await self.outbox.drained()
        except Stalled:
            self.end(TOO_SLOW)
        finally:
            self._unread = None
            self._credit.settle(BYTES)
