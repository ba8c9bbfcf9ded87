"""The sessions of a node: opened, resumed here or elsewhere, given up; and messages for them."""

import asyncio
from collections.abc import Iterator
from typing import Final

import structlog

from roomful_nodes.auth import Identity, Secrets
from roomful_nodes.batches import Batches
from roomful_nodes.bus import Bus, Message
from roomful_nodes.delays import Delays
from roomful_nodes.listening import Listening
from roomful_nodes.metrics import Metrics
from roomful_nodes.receipts import Receipts
from roomful_nodes.session import Line, Session
from roomful_protocol.codecs.internode import pack_to_session, unpack_to_session
from roomful_protocol.errors import CLOSES, KICKED, TAKEN_OVER, Close
from roomful_protocol.ids import NodeId, SessionId, UserId, home_of, name_of
from roomful_protocol.messages import Claim, Direct, Kick
from roomful_protocol.subjects import Subjects
from roomful_rooms.clock import NewId
from roomful_rooms.log import Following
from roomful_rooms.tasks import Tasks

_CLOSES: Final = {close.slug: close for close in CLOSES}

log = structlog.get_logger()


class Sessions:
    """By id and by user; those without a socket included, until their grace is over."""

    def __init__(
        self,
        node: NodeId,
        secrets: Secrets,
        *,
        bus: Bus,
        subjects: Subjects,
        new_id: NewId,
        loop: asyncio.AbstractEventLoop,
        tasks: Tasks,
        metrics: Metrics,
        grace_s: float,
    ) -> None:
        self._node, self._secrets = node, secrets
        self._bus, self._subjects, self._new_id = bus, subjects, new_id
        # The patience with what is parked, and with the session if it has no line when that ends.
        self._graces = Delays[Session](grace_s, self._expire, loop)
        self._users = Listening(bus, self._heard_for_user, loop=loop, tasks=tasks)
        self._guests = Listening(bus, self._heard_for_session, loop=loop, tasks=tasks)
        # Each write has its price: what other nodes send one client in a turn is written at once.
        self._shows: Batches[Line, bytes] = Batches(lambda line, frames: line.show(*frames))
        self._receipts = Receipts(bus, subjects)
        self._own: Following | None = None
        self._closed = False
        self._by_id: dict[SessionId, Session] = {}
        self._by_user: dict[UserId, dict[SessionId, Session]] = {}
        metrics.sessions.set_function(self.__len__)

    async def start(self) -> None:
        """Listen for messages to the sessions that were opened here."""
        subject = self._subjects.session(self._node, "*")
        self._own = await self._bus.subscribe(subject, self._heard_for_session)
        await self._receipts.start()

    async def close(self) -> None:
        """Forget all sessions without a word: they may go on elsewhere."""
        self._closed = True
        self._graces.close()
        if self._own is not None:
            await self._own.close()
        await self._receipts.close()
        await self._users.close()
        await self._guests.close()

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, id: SessionId) -> Session | None:
        return self._by_id.get(id)

    def connected(self, user: UserId) -> Iterator[Session]:
        """The sessions of `user` that have a socket here."""
        return (one for one in self._by_user.get(user, {}).values() if one.line is not None)

    # -- coming ------------------------------------------------------------------------------------

    def open(self, identity: Identity) -> Session:
        id = f"{self._node}-{self._new_id()}"
        return self._numbered(self._add(id, identity.user, identity.name), 1)

    def _numbered(self, session: Session, connection: int) -> Session:
        session.connection = connection
        session.secret = self._secrets.secret(session.id, session.user, connection)
        return session

    def resume(self, id: SessionId, secret: str, identity: Identity) -> Session | None:
        """The session `id`, if `secret` is its secret and `identity` its user; else None.

        If another node has it, it is asked to let go.
        """
        ticket = self._secrets.read(id, secret)
        if ticket is None or (identity.chosen and identity.user != ticket.user):
            log.info("session.not_resumed", session=id, user=identity.user)
            return None
        # Not after the last one that we know of: its client may never have heard of that.
        connection = ticket.connection + 1
        session = self._by_id.get(id)
        if session is None:
            self._bus.publish(
                self._subjects.session(home_of(id), id),
                pack_to_session(Claim(self._node, connection)),
            )
            name = identity.name if identity.chosen else ticket.user
            session = self._add(id, ticket.user, name)
            if home_of(id) != self._node:
                self._guests.hold(self._subjects.session(home_of(id), id))
        return self._numbered(session, connection)

    def _add(self, id: SessionId, user: UserId, name: str) -> Session:
        session = Session(id, user, name)
        self._by_id[id] = session
        self._by_user.setdefault(user, {})[id] = session
        return session

    def attach(self, session: Session, line: Line) -> None:
        """`line` is the session's socket from now on; an older one is told so and closed."""
        older, session.line = session.line, line
        if older is not None:
            session.park(older)
            older.end(TAKEN_OVER)
        else:
            self._users.hold(self._subjects.user(session.user))
        if session.parked:
            self._wait(session)

    # -- going -------------------------------------------------------------------------------------

    def drop(self, session: Session, line: Line, *, for_good: bool) -> None:
        """`line` is closed. Unless `for_good`, the client may come back within its grace."""
        if session.line is not line:
            return
        session.line = None
        session.park(line)
        self._users.release(self._subjects.user(session.user))
        if for_good or not session.parked:
            # One without rooms need not be kept: its secret is all it takes to come back.
            self._remove(session)
            session.leave_parked("left")
        else:
            self._wait(session)

    def _wait(self, session: Session) -> None:
        if not self._closed:
            self._graces.begin(session)

    def _expire(self, session: Session) -> None:
        session.leave_parked("timeout")
        # One that another node has is none of ours any more.
        if session.line is None and self._by_id.get(session.id) is session:
            log.info("session.expired", session=session.id, user=session.user)
            self._remove(session)

    def _remove(self, session: Session) -> None:
        self._graces.call_off(session)
        if self._by_id.get(session.id) is not session:
            return
        del self._by_id[session.id]
        others = self._by_user[session.user]
        del others[session.id]
        if not others:
            del self._by_user[session.user]
        if home_of(session.id) != self._node:
            self._guests.release(self._subjects.session(home_of(session.id), session.id))

    def _let_go(self, session: Session) -> None:
        """Another node has it. Rooms that the client does not join again there are left from here,
        after its grace; where it did, the room knows better than to listen to us."""
        # What came before for its client is told before that it is over.
        self._shows.flush()
        line, session.line = session.line, None
        if line is not None:
            session.park(line)
            self._users.release(self._subjects.user(session.user))
            line.end(TAKEN_OVER)
        self._remove(session)
        self._wait(session)

    def close_session(self, id: SessionId, close: Close = KICKED) -> bool:
        """Close the socket of a session that is here; False if it is not. If `close` says that
        reconnecting will not help, the session ends with it."""
        session = self._by_id.get(id)
        if session is None:
            return False
        self._shows.flush()
        if session.line is not None:
            line = session.line
            line.end(close)
            self.drop(session, line, for_good=not close.reconnect)
        elif not close.reconnect:
            self._remove(session)
            session.leave_parked("left")
        return True

    # -- messages ----------------------------------------------------------------------------------

    def _heard_for_user(self, message: Message) -> None:
        user = name_of(message.subject.rpartition(".")[2])
        direct = unpack_to_session(message.payload)
        if isinstance(direct, Direct):
            shown = sum([self._shown(session, direct) for session in self.connected(user)])
            self._receipts.give(direct.node, direct.request, shown)

    def _heard_for_session(self, message: Message) -> None:
        session = self._by_id.get(message.subject.rpartition(".")[2])
        match unpack_to_session(message.payload):
            case Direct(_, node, request) as direct:
                shown = 0 if session is None else self._shown(session, direct)
                self._receipts.give(node, request, shown)
            # A claim that comes late must not end the connection that came after it.
            case Claim(node, connection) if session and connection >= session.connection:
                log.info("session.claimed", session=session.id, by=node)
                self._let_go(session)
            case Kick(slug) if session:
                self.close_session(session.id, _CLOSES.get(slug, KICKED))
            case _:
                pass

    def _shown(self, session: Session, direct: Direct) -> int:
        if session.line is None or session.has_heard(direct):
            return 0
        self._shows.add(session.line, direct.frame)
        return 1
