"""What a client may ask of rooms and of others, once it is known who it is."""

import asyncio
from collections.abc import Callable
from functools import partial

from msgspec import Struct

from roomful_nodes.membership import Lane, Membership
from roomful_nodes.outbox import Outbox, Stalled
from roomful_nodes.rate import Credit
from roomful_nodes.services import Services
from roomful_nodes.session import Session
from roomful_protocol import frames
from roomful_protocol.codecs.events import ack_frame, history_frame
from roomful_protocol.errors import TOO_SLOW, Close, Code, Refused
from roomful_protocol.frames import ClientId, Frame, History, Join, Leave, Members, Say, person
from roomful_protocol.ids import RoomName, attachment
from roomful_protocol.messages import (
    Accepted,
    Answer,
    Denied,
    Listing,
    Read,
    Sender,
    Who,
    refused,
)


class Requests:
    """Carries out frames for one socket. `rooms` holds what was joined over it, also what is not
    answered yet: a client may go on as if it were in, as the room sees everything in order. What no
    room has decided stays, too: the client may be in. Each question takes `cost` of the client's
    credit until it is answered."""

    __slots__ = (
        "_credit", "_failed", "_leaving", "_only", "_outbox", "_services", "_session", "_telling",
        "resumed", "rooms",
    )  # fmt: skip

    def __init__(
        self,
        services: Services,
        session: Session,
        outbox: Outbox,
        credit: Credit,
        *,
        failed: Callable[[Close], None],
    ) -> None:
        self.rooms: dict[RoomName, Membership] = {}
        # Nearly every client is in one room, and does not name it.
        self._only: Membership | None = None
        self.resumed = False
        # Of rooms that are left, but do not know it yet; made when the first is left.
        self._leaving: dict[RoomName, Lane] | None = None
        self._services, self._session = services, session
        self._outbox, self._credit, self._failed = outbox, credit, failed
        # History is told one piece at a time: else what one client asks for at once fills memory.
        # Made when the first is asked for.
        self._telling: asyncio.Lock | None = None

    def forget(self) -> None:
        """Nothing will be asked any more."""
        self.rooms, self._leaving, self._only = {}, None, None
        self._failed = _nowhere

    def _membership(self, room: RoomName | None) -> Membership:
        """That in `room`; in the only one, if it is not named. Raises Refused."""
        membership = self._only if room is None else self.rooms.get(room)
        if membership is not None:
            return membership
        if room is not None:
            raise _not_joined(room)
        if not self.rooms:
            raise Refused(Code.NOT_JOINED, "Join a room first.")
        raise Refused(Code.BAD_DATA, "Name the room: you are in several.")

    def _find_only(self) -> None:
        self._only = next(iter(self.rooms.values())) if len(self.rooms) == 1 else None

    # -- joining -----------------------------------------------------------------------------------

    def join(self, join: Join) -> None:
        """Join a room, or join it again from another place. Raises Refused."""
        if join.room is None:
            membership = self._membership(None)
        else:
            membership = self.rooms.get(join.room) or self._begun(join.room)
        membership.enter(join, resumed=self.resumed)

    def _begun(self, room: RoomName) -> Membership:
        services, session = self._services, self._session
        if len(self.rooms) >= services.limits.rooms:
            raise Refused(
                Code.FORBIDDEN, f"You are in {len(self.rooms)} rooms, the most allowed: leave one."
            )
        # An attachment of its own: the room tells it from any that this session had before.
        attach = attachment(session.connection, services.life, services.new_id()[:12])
        sender = Sender(session.id, session.user, session.name, services.node, attach)
        leaving = self._leaving.pop(room, None) if self._leaving else None
        lane = services.asks.lane(room, sender) if leaving is None else leaving.then(sender)
        membership = Membership(
            room, sender, lane, self._outbox, hub=services.hub, tasks=services.tasks,
            metrics=services.metrics, keeper=self,
        )  # fmt: skip
        self.rooms[room] = membership
        self._find_only()
        session.joins(room)
        return membership

    def leave(self, leave: Leave) -> None:
        """Leave a room, which is not heard from then on. Raises Refused.

        A session that has come back is in its rooms still: it may leave one that it has not joined
        again.
        """
        if self.resumed and leave.room is not None and leave.room not in self.rooms:
            membership = self._begun(leave.room)
        else:
            membership = self._membership(leave.room)
        del self.rooms[membership.room]
        self._find_only()
        membership.leave(leave.id)
        before = self._leaving or {}
        self._leaving = {room: lane for room, lane in before.items() if not lane.idle}
        if not membership.lane.idle:
            self._leaving[membership.room] = membership.lane

    def not_let_in(self, membership: Membership) -> None:
        """See `Keeper`."""
        if self.rooms.get(membership.room) is membership:
            del self.rooms[membership.room]
            self._find_only()
        membership.detach()

    def fail(self, close: Close) -> None:
        """See `Keeper`."""
        self._failed(close)

    # -- sending -----------------------------------------------------------------------------------

    def send(self, say: Say, cost: int) -> None:
        """Pass on a message, to a room or outside any. Raises Refused."""
        if say.to and say.room is None:
            self._send_direct(say, cost)
            return
        # This is the way of every message: so it is found here, and only missed there.
        membership = self._only if say.room is None else self.rooms.get(say.room)
        if membership is None:
            membership = self._membership(say.room)
        self._credit.owed += cost
        membership.lane.ask(say, _Said(say.id, membership, self._credit, cost).answered)

    def _send_direct(self, say: Say, cost: int) -> None:
        self._credit.owed += cost
        delivered = partial(self._delivered, say.id, cost)
        try:
            self._services.targets.send(self._session, say, delivered)
        except Refused:
            self._credit.settle(cost)
            raise

    def _delivered(self, id: ClientId | None, cost: int, count: int) -> None:
        self._credit.settle(cost)
        if not count:
            nobody = Refused(Code.UNKNOWN_TARGET, "Nobody whom this is for is connected.")
            self._outbox.send(frames.error(nobody, id))
        elif id is not None:
            self._outbox.send(frames.ack(id, None, data={"delivered": count}))

    # -- looking -----------------------------------------------------------------------------------

    def look(self, frame: History | Members, cost: int) -> None:
        """Answer from what the room knows. Raises Refused.

        That is not for whom it does not let in: so the answer to the join is waited for.
        """
        membership = self._membership(frame.room)
        self._credit.owed += cost
        membership.once_decided(partial(self._look, frame, membership, cost))

    def _look(
        self, frame: History | Members, membership: Membership, cost: int, joined: bool
    ) -> None:
        if not joined:
            self._credit.settle(cost)
            self._outbox.send(frames.error(_not_joined(membership.room), frame.id, membership.room))
            return
        match frame:
            case History():
                reading = self._read(frame, membership, cost)
                self._services.tasks.start(reading, f"history for {self._session.id}")
            case Members():
                answered = partial(self._listed, frame.id, membership.room, cost)
                membership.lane.ask(Who(), answered)

    async def _read(self, history: History, membership: Membership, cost: int) -> None:
        read = Read(history.after, history.before, history.limit)
        past, room = self._services.hub.history, membership.room
        if self._telling is None:
            self._telling = asyncio.Lock()
        try:
            async with self._telling:
                if not self._outbox.open:
                    return
                entries, more = await past.visible(room, membership.sender, read)
                await self._outbox.drained()
                events = [entry.frame for entry in entries]
                self._outbox.show(history_frame(history.id, room, events, more))
        except Refused as refusal:
            self._outbox.send(frames.error(refusal, history.id, room))
        except Stalled:
            self._failed(TOO_SLOW)
        finally:
            self._credit.settle(cost)

    def _listed(self, id: ClientId | None, room: RoomName, cost: int, answer: Answer) -> None:
        self._credit.settle(cost)
        match answer:
            case Listing(seq=seq, count=count, members=members):
                listed = [person(one.user, one.name, one.session) for one in members]
                self._outbox.send(frames.members(id, room, listed, count, seq))
            case Denied():
                self._outbox.send(frames.error(refused(answer), id, room))
            case _:
                raise TypeError(f"not an answer to a listing: {answer!r}")


class _Said(Struct):
    """A message on its way to the room of its `membership`."""

    id: ClientId | None
    membership: Membership
    credit: Credit
    cost: int

    def answered(self, answer: Answer) -> None:
        """Tell the client, if it wants to know."""
        self.credit.settle(self.cost)
        id, membership = self.id, self.membership
        if isinstance(answer, Accepted):
            if id is None:
                return
            seq, delivered = answer.seq, answer.delivered
            if seq is None or answer.data is not None or delivered is not None or answer.duplicate:
                membership.outbox.send(_ack(id, membership.room, answer))
            else:
                # As nearly always: and there are many at a time, one for each message of a block.
                membership.outbox.gather(ack_frame(id, membership.room, seq))
        elif isinstance(answer, Denied):
            refusal = refused(answer)
            membership.outbox.send(frames.error(refusal, id, membership.room))
            if refusal.code is Code.NOT_JOINED:
                membership.reaffirm()
        else:
            raise TypeError(f"not an answer to a message: {answer!r}")


def _ack(id: ClientId, room: RoomName, answer: Accepted) -> Frame:
    data = answer.data if answer.delivered is None else {"delivered": answer.delivered}
    return frames.ack(id, room, seq=answer.seq, data=data, duplicate=answer.duplicate)


def _not_joined(room: RoomName) -> Refused:
    return Refused(Code.NOT_JOINED, f"Join {room} first.")


def _nowhere(_: Close) -> None:
    """Takes failures that come after the end."""
