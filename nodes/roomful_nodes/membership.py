"""One session's place in one room, over one socket: from its join to its leave."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, Literal, Protocol

import structlog

from roomful_nodes.catchup import CatchUp
from roomful_nodes.hub import Hub
from roomful_nodes.metrics import Metrics
from roomful_nodes.outbox import LOW, Outbox, Stalled
from roomful_nodes.runs import shown_to
from roomful_protocol import frames
from roomful_protocol.errors import TOO_SLOW, Close, Code
from roomful_protocol.frames import NEW, ClientId, Frame, Join, person
from roomful_protocol.ids import RoomName
from roomful_protocol.messages import (
    Answer,
    Ask,
    Denied,
    Enter,
    Exit,
    Sender,
    Welcome,
    refused,
)
from roomful_rooms.tasks import Tasks

ExitReason = Literal["left", "timeout"]

AGAIN_S: Final = 1.0
"""Pause before a room is asked again for what its members rely on."""
UNDECIDED: Final = frozenset({Code.BUSY, Code.UNAVAILABLE})
"""What is denied in this way the room may have done all the same, or will do when asked again."""

log = structlog.get_logger()


def _nothing() -> None:
    """Counts nothing."""


class Lane(Protocol):
    """The questions of one attachment of a session to one room, in order."""

    @property
    def idle(self) -> bool:
        """Whether nothing is asked that the room is to remember."""
        ...

    def then(self, sender: Sender) -> "Lane":
        """The lane of a later attachment: what is asked over it comes after all of this one."""
        ...

    def ask(self, ask: Ask, answered: Callable[[Answer], None]) -> None:
        """`answered` is called exactly once, in this turn or a later one, and never with Moved."""
        ...


class Keeper(Protocol):
    """Who keeps the memberships of a socket, while it is open."""

    def not_let_in(self, membership: "Membership", /) -> None:
        """The room does not take the session in."""
        ...

    def fail(self, close: Close, /) -> None:
        """The socket has to be closed."""
        ...


class Membership:
    """A follower of the room's feed."""

    __slots__ = (
        "_attached", "_catching_up", "_curious", "_entering", "_feed", "_hub", "_joined", "_keeper",
        "_metrics", "_reaffirming", "_tasks", "lane", "outbox", "room", "sender", "session", "user",
    )  # fmt: skip

    def __init__(
        self,
        room: RoomName,
        sender: Sender,
        lane: Lane,
        outbox: Outbox,
        *,
        hub: Hub,
        tasks: Tasks,
        metrics: Metrics,
        keeper: Keeper,
    ) -> None:
        self.room = room
        self.sender = sender
        self.session, self.user = sender.session, sender.user
        self.lane = lane
        self.outbox = outbox
        self._hub, self._tasks, self._metrics = hub, tasks, metrics
        self._keeper: Keeper | None = keeper
        self._feed = hub.feed(room)
        self._catching_up: asyncio.Task[None] | None = None
        self._joined = False
        # Joins without an answer yet, and who wants to know what it is.
        self._entering = 0
        self._curious: tuple[Callable[[bool], None], ...] = ()
        self._attached = True
        self._reaffirming = False

    # -- coming ------------------------------------------------------------------------------------

    def enter(self, join: Join, *, resumed: bool) -> None:
        """Join, or join again from another place: then `joined` and what follows are told anew."""
        self._entering += 1
        self.lane.ask(Enter(join.since, join.epoch, resumed), partial(self._entered, join.id))

    def once_decided(self, go_on: Callable[[bool], None]) -> None:
        """Tell `go_on` whether the room has let the session in, as soon as it has said."""
        if self._joined or not self._entering:
            go_on(self._joined)
        else:
            self._curious = (*self._curious, go_on)

    def _entered(self, id: ClientId | None, answer: Answer) -> None:
        self._entering -= 1
        match answer:
            case Welcome():
                self._joined = True
                if self._attached:
                    self._welcome(id, answer)
            case Denied():
                denial = refused(answer)
                if self._attached:
                    self.outbox.send(frames.error(denial, id, self.room))
                # Perhaps it is in all the same: then the client can leave, or be left behind.
                if not self._joined and denial.code not in UNDECIDED:
                    self._not_let_in()
            case _:
                raise TypeError(f"not an answer to a join: {answer!r}")
        if self._curious:
            curious, self._curious = self._curious, ()
            for go_on in curious:
                self.once_decided(go_on)

    def _welcome(self, id: ClientId | None, welcome: Welcome) -> None:
        """First `joined`, then what was missed, then what happens, without a hole."""
        self._stop_catching_up()
        self._feed.begin(welcome.epoch, welcome.seq)
        self._feed.detach(self)
        self.outbox.send(frames.joined(id, self.room, _told(welcome)))
        if welcome.entries is None or self.outbox.waiting > LOW:
            self._catch_up(welcome.start, welcome.start)
            return
        last = welcome.start
        if welcome.entries:
            data, last = shown_to(self, welcome.entries, last)
            self.outbox.write(data)
        if not self._feed.attach(self, welcome.seq, last):
            self._catch_up(welcome.seq, last)

    def reaffirm(self) -> None:
        """The room may have taken this node for dead, and its members for gone: be one again."""
        if self._joined and not self._reaffirming:
            self._reaffirm()

    def _reaffirm(self) -> None:
        self._reaffirming = self._attached
        if self._attached:
            self.lane.ask(Enter(NEW, None, resumed=True), self._reaffirmed)

    def _reaffirmed(self, answer: Answer) -> None:
        if not isinstance(answer, Denied):
            self._reaffirming = False
        elif refused(answer).code in UNDECIDED:
            # It hears the room, and who is in there must know.
            self._tasks.start(_later(self._reaffirm), f"reaffirm {self.session} in {self.room}")
        elif self._attached:
            self.outbox.send(frames.left(None, self.room))
            self._not_let_in()

    def _not_let_in(self) -> None:
        if self._keeper is not None:
            self._keeper.not_let_in(self)

    # -- being behind ------------------------------------------------------------------------------

    def fell_behind(self, last: int) -> None:
        """Too much waits for the socket: leave the live members, and read the log instead."""
        behind = max(self._feed.head - last, 0)
        self._metrics.lagging.inc()
        log.info("session.lagging", session=self.session, room=self.room, behind=behind)
        self.outbox.send(frames.lagging([self.room], behind))
        self._catch_up(last, last, self._metrics.caught_up.inc)

    def _catch_up(self, after: int, last: int, caught_up: Callable[[], None] = _nothing) -> None:
        self._stop_catching_up()
        way = CatchUp(self._feed, self._hub.history, self, self.sender, after, last)
        running = self._run(way, caught_up)
        self._catching_up = self._tasks.start(running, f"catch up {self.session} in {self.room}")

    async def _run(self, way: CatchUp, caught_up: Callable[[], None]) -> None:
        try:
            if await way.run():
                caught_up()
        except Stalled:
            log.info("session.too_slow", session=self.session, room=self.room)
            if self._keeper is not None:
                self._keeper.fail(TOO_SLOW)

    def _stop_catching_up(self) -> None:
        task, self._catching_up = self._catching_up, None
        if task is not None:
            task.cancel()

    # -- going -------------------------------------------------------------------------------------

    def detach(self) -> None:
        """Hear no more, though the room still counts the session in. May be called again."""
        if self._attached:
            self._attached = False
            # It leads to the socket's conversation, which leads here: no cycle may be left behind.
            self._keeper = None
            self._stop_catching_up()
            self._feed.detach(self)
            self._hub.release(self._feed)

    def leave(self, id: ClientId | None) -> None:
        """Leave as the client wishes, and tell it so."""
        self.detach()
        self.lane.ask(Exit("left"), partial(self._left, id))

    def _left(self, id: ClientId | None, answer: Answer) -> None:
        if isinstance(answer, Denied) and answer.code != Code.NOT_JOINED.slug:
            self.outbox.send(frames.error(refused(answer), id, self.room))
            self._exited("left", answer)
        else:
            self.outbox.send(frames.left(id, self.room))

    def exit(self, reason: ExitReason) -> None:
        """Leave on behalf of a session that is gone. The room ignores it if the session has been
        attached elsewhere since."""
        self.detach()
        self.lane.ask(Exit(reason), partial(self._exited, reason))

    def _exited(self, reason: ExitReason, answer: Answer) -> None:
        if not isinstance(answer, Denied):
            return
        denial = refused(answer)
        if denial.code in UNDECIDED:
            # Nobody else will say that it has gone, while this node lives.
            again = _later(partial(self.exit, reason))
            self._tasks.start(again, f"exit {self.session} from {self.room}")
        elif denial.code is not Code.NOT_JOINED:
            log.error(
                "session.exit_refused", session=self.session, room=self.room, code=answer.code
            )


async def _later(ask: Callable[[], None]) -> None:
    await asyncio.sleep(AGAIN_S)
    ask()


def _told(welcome: Welcome) -> Frame:
    """The data of `joined`."""
    gap = (
        None
        if welcome.gap is None
        else dict(zip(("from", "to", "reason"), welcome.gap, strict=True))
    )
    return {
        "epoch": welcome.epoch,
        "seq": welcome.seq,
        "recovered": welcome.recovered,
        "gap": gap,
        "members": [person(one.user, one.name, one.session) for one in welcome.listed],
        "count": welcome.count,
    }
