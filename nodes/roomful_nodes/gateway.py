"""The door for sockets: who may come in, as whom, and how they are asked to leave."""

import asyncio
from collections.abc import Callable, Collection
from typing import Final

import structlog

from roomful_nodes.auth import Authenticator, Identity, Secrets
from roomful_nodes.bus import Bus
from roomful_nodes.conversation import Conversation
from roomful_nodes.departure import Departure
from roomful_nodes.handshake import read_query
from roomful_nodes.hub import Hub
from roomful_nodes.metrics import Metrics
from roomful_nodes.outbox import Outbox
from roomful_nodes.services import Asks, Services
from roomful_nodes.session import Session
from roomful_nodes.sessions import Sessions
from roomful_nodes.settings import NodeSettings
from roomful_nodes.targets import Targets
from roomful_protocol import frames
from roomful_protocol.errors import (
    KICKED,
    OVERLOADED,
    UNAUTHORIZED,
    Close,
    Refused,
)
from roomful_protocol.frames import Durability, Join
from roomful_protocol.ids import NodeId, SessionId
from roomful_protocol.query import Query
from roomful_protocol.subjects import Subjects
from roomful_rooms.clock import Clock, NewId
from roomful_rooms.tasks import Tasks

CONNECTIONS: Final = 50_000
"""Sockets that one node takes; whoever comes after is told to come back later."""
BEATS: Final = 4
"""Signs of life are looked at so often per heartbeat."""
SLICE: Final = 200
"""Sockets looked at in one turn of the loop."""

log = structlog.get_logger()


class Gateway:
    """A node's sockets and their sessions. `others` tells how many other nodes live, `pace` how
    many clients a second may be sent to them."""

    def __init__(
        self,
        node: NodeId,
        life: str,
        settings: NodeSettings,
        key: bytes,
        *,
        asks: Asks,
        hub: Hub,
        bus: Bus,
        subjects: Subjects,
        clock: Clock,
        new_id: NewId,
        loop: asyncio.AbstractEventLoop,
        tasks: Tasks,
        metrics: Metrics,
        others: Callable[[], int],
        pace: Callable[[], float],
        durability: Durability = Durability(),  # noqa: B008 - frozen
    ) -> None:
        self.sessions = Sessions(
            node, Secrets(key), bus=bus, subjects=subjects, new_id=new_id, loop=loop, tasks=tasks,
            metrics=metrics, grace_s=settings.grace_s,
        )  # fmt: skip
        self._targets = Targets(
            node, self.sessions, bus=bus, subjects=subjects, new_id=new_id, loop=loop,
            others=others,
        )  # fmt: skip
        authenticator = Authenticator(
            settings.auth, anonymous=settings.anonymous, clock=clock, new_id=new_id
        )
        self._services = Services(
            node, life, asks, hub, self._targets, authenticator, settings.limits,
            settings.heartbeat_s, clock, new_id, loop, tasks, metrics, durability,
        )  # fmt: skip
        self._settings = settings
        self._lines: set[Conversation] = set()
        # Asked for when somebody looks, not told each time that somebody comes or goes.
        metrics.connections.set_function(self.__len__)
        self.departure = Departure(self._lines, pace=pace, clock=clock)

    def __len__(self) -> int:
        """How many sockets are open."""
        return len(self._lines)

    # -- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen for what other nodes have for sessions here. Returns when the broker knows."""
        await self.sessions.start()
        await self._targets.start()

    def watch_hearts(self) -> None:
        """Ask silent clients for signs of life, and give up those who give none."""
        self._services.tasks.start(self._watch_hearts(), "heartbeat")

    @property
    def draining(self) -> bool:
        """Whether clients are asked to leave: nobody is let in any more."""
        return self.departure.begun

    async def close(self) -> None:
        """Forget what is left, without a word to the rooms: sessions may go on elsewhere."""
        self.departure.hurry()
        await self.sessions.close()
        await self._targets.close()

    def close_session(self, id: SessionId, close: Close = KICKED) -> bool:
        """Close the socket of a session that is here; False if it is not here."""
        return self.sessions.close_session(id, close)

    async def reaffirm(self) -> None:
        """This node may have been taken for dead: have its clients be members again where not."""
        members = [one for line in self._lines for one in line.rooms.values()]
        log.info("gateway.reaffirming", memberships=len(members))
        for count, membership in enumerate(members, 1):
            membership.reaffirm()
            if count % SLICE == 0:
                await asyncio.sleep(0)

    async def _watch_hearts(self) -> None:
        while True:
            await asyncio.sleep(self._settings.heartbeat_s / BEATS)
            now = self._services.clock.monotonic()
            for count, line in enumerate(list(self._lines), 1):
                line.beat(now)
                if count % SLICE == 0:
                    await asyncio.sleep(0)

    # -- one socket --------------------------------------------------------------------------------

    def begin(
        self, pairs: Collection[tuple[str, str]], outbox: Outbox, peer: Callable[[], str | None]
    ) -> Conversation | None:
        """A socket is open, asked for with the query `pairs`. Who is it? Say hello, and join what
        the query names; None if nobody is let in. `peer` tells where it comes from."""
        query, problem = read_query(pairs)
        try:
            identity = self._services.authenticator.identify(query.token, query.user, query.name)
        except Refused as refusal:
            log.info("session.unauthorized", reason=refusal.message, peer=peer())
            outbox.send(frames.error(refusal))
            outbox.end(UNAUTHORIZED)
            return None
        if len(self._lines) >= CONNECTIONS:
            log.warning("gateway.full", connections=len(self._lines))
            self._services.metrics.turned_away_full.inc()
            outbox.end(OVERLOADED, delay_ms=(1000, 10_000))
            return None
        session, resumed = self._session(query, identity)
        conversation = Conversation(self._services, session, identity, outbox)
        self._lines.add(conversation)
        self.sessions.attach(session, conversation)
        log.debug("session.opened", session=session.id, user=session.user, resumed=resumed)
        conversation.greet(resumed=resumed)
        if problem is not None:
            outbox.send(frames.error(problem))
        for room in query.rooms:
            conversation.join(Join(room, None, query.since, query.epoch))
        return conversation

    def _session(self, query: Query, identity: Identity) -> tuple[Session, bool]:
        """The session that the client resumes, or a new one."""
        if query.session is not None and query.secret is not None:
            session = self.sessions.resume(query.session, query.secret, identity)
            if session is not None:
                return session, True
        return self.sessions.open(identity), False

    def end(self, conversation: Conversation) -> None:
        """The socket of a conversation that was begun is closed."""
        close = conversation.outbox.close
        conversation.closed()
        self._lines.discard(conversation)
        self.departure.gone()
        session = conversation.session
        reason = "dropped" if close is None else close.slug
        log.debug("session.closed", session=session.id, user=session.user, reason=reason)
        if close is not None:
            self._services.metrics.closed.labels(close.slug).inc()
        for_good = close is not None and not close.reconnect
        self.sessions.drop(session, conversation, for_good=for_good)
        conversation.forget()
