"""The running room: one mailbox, one handler at a time, one journal.

A command for an idle room is handled in the turn of the loop in which it arrives. Only a handler
that is `async` becomes a task, and then the commands after it wait in the mailbox.
"""

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from roomful_protocol.blocks import Done
from roomful_protocol.codecs.events import checked_data
from roomful_protocol.errors import Code, Refused
from roomful_protocol.ids import NodeId, Partition, partition_of
from roomful_protocol.messages import (
    MOVED,
    Accepted,
    Answer,
    Command,
    Denied,
    Enter,
    Listing,
    Live,
    Read,
    Say,
    Who,
)  # fmt: skip
from roomful_rooms.clock import Clock
from roomful_rooms.dispatch import begin
from roomful_rooms.draft import Answered, frame_of
from roomful_rooms.effects import Turn
from roomful_rooms.journal import Journal
from roomful_rooms.room import Context, Room
from roomful_rooms.tasks import Tasks
from roomful_rooms.welcome import welcome

log = structlog.get_logger()

MAILBOX_FULL: Final = "This room has more to do than it can; try again in a moment."
RETRY_MS: Final = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """`mailbox`: commands that may wait; `handler_s`: how long one handler may take, seconds."""

    mailbox: int = 1024
    handler_s: float = 10


class RoomActor:
    """Runs one room under one lease.

    `ended` is called once, when it can run no further: fenced, unreadable, or broken by a bug.
    """

    def __init__(
        self,
        kind: type[Room],
        journal: Journal,
        *,
        clock: Clock,
        tasks: Tasks,
        limits: Limits,
        live: Callable[[str, Live], None],
        ended: Callable[["RoomActor", BaseException], None],
    ) -> None:
        self.name = journal.room
        self.kind = kind
        self.journal = journal
        self.last_used = clock.monotonic()
        self._clock, self._tasks, self._limits, self._live = clock, tasks, limits, live
        self._ended = ended
        self._mailbox: deque[tuple[Command, Answered]] = deque()
        self._running: asyncio.Task[None] | None = None
        self._room: Room | None = None
        self._stopping = False
        self.closed = False
        self.opening = tasks.start(self._open(), f"open {self.name}")

    @property
    def partition(self) -> Partition:
        return partition_of(self.name)

    @property
    def nodes(self) -> frozenset[NodeId]:
        """The nodes that hold the members' sockets."""
        return self.journal.held.presence.nodes

    @property
    def members(self) -> int:
        return len(self.journal.held.presence)

    @property
    def idle(self) -> bool:
        """Nothing runs, waits or is on its way to the log, and nobody is here."""
        busy = self._running or self._mailbox or self._room is None
        return not busy and self.journal.idle and not self.members

    # -- life --------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Recover and fence; commands wait meanwhile. What stops it goes to `ended`."""
        try:
            await self.journal.open(self._next, self._fail)
        except Exception as reason:
            self._fail(reason)
            return
        held = self.journal.held
        context = Context(self.name, held.state, held.presence, self._clock, Turn())
        self._room = self.kind(context)
        log.info(
            "room.opened", room=self.name, term=self.journal.term, seq=self.journal.recent.head,
            members=self.members,
        )  # fmt: skip
        self._next()

    async def close(self) -> None:
        """Finish what runs, send away what waits (to be asked elsewhere), and write a snapshot."""
        self._stopping = True
        self._turn_away(MOVED)
        await asyncio.wait([self.opening])
        if self._running is not None:
            await asyncio.wait([self._running])
        if self._room is not None and not self.closed:
            await self.journal.close()
            log.info("room.closed", room=self.name, seq=self.journal.recent.head)
        self.closed = True

    def _turn_away(self, answer: Answer) -> None:
        while self._mailbox:
            _, answered = self._mailbox.popleft()
            answered(answer)

    def _fail(self, reason: BaseException) -> None:
        """Whatever was not committed has not happened: whoever waits may ask the next owner."""
        self._stopping = self.closed = True
        self._turn_away(MOVED)
        for answered in self.journal.abandon():
            answered(MOVED)
        self._ended(self, reason)

    # -- commands ----------------------------------------------------------------------------------

    def receive(self, command: Command, answered: Answered) -> None:
        """Handle `command` now or when its turn comes; `answered` is called exactly once."""
        if self._stopping:
            answered(MOVED)
        elif self._waiting:
            if len(self._mailbox) >= self._limits.mailbox:
                answered(Denied(Code.BUSY.slug, MAILBOX_FULL, RETRY_MS))
            else:
                self._mailbox.append((command, answered))
        else:
            self._handle(command, answered)
            self.journal.kick()

    @property
    def _waiting(self) -> bool:
        busy = self._running is not None or bool(self._mailbox)
        return busy or self._room is None or self.journal.draft.full

    def _next(self) -> None:
        """Handle what waits, as far as it goes."""
        while self._mailbox and self._running is None and not self.journal.draft.full:
            self._handle(*self._mailbox.popleft())
        self.journal.kick()

    def _handle(self, command: Command, answered: Answered) -> None:
        self.last_used = self._clock.monotonic()
        if isinstance(command.ask, Read):
            # Answered at once: memory and pages hold only what is committed.
            answered(self.journal.recent.read(command.ask))
            return
        if isinstance(command.ask, Who):
            ready: Answer | None = self._listing()
        else:
            ready = self.journal.held.ledger.verdict(command)
        if ready is not None:
            # Neither a list nor a repeat may overtake what is still on its way to the log.
            self.journal.draft.answers.append((answered, ready))
            return
        turn = Turn()
        self._room_now.context.turn = turn
        try:
            waiting = begin(self._room_now, command)
        except Exception as failure:
            self._fail_turn(command, answered, turn, failure)
            return
        if inspect.isawaitable(waiting):
            going_on = self._wait(command, answered, turn, waiting)
            self._running = self._tasks.start(going_on, f"handler {self.name}")
        else:
            self._finish(command, answered, turn)

    @property
    def _room_now(self) -> Room:
        if self._room is None:
            raise RuntimeError("The room is not open yet.")
        return self._room

    async def _wait(
        self, command: Command, answered: Answered, turn: Turn, waiting: Awaitable[object]
    ) -> None:
        # Until the handler is done, its speculative join or leave must not get into a snapshot.
        self.journal.unsettled = bool(turn.changes)
        try:
            async with asyncio.timeout(self._limits.handler_s):
                await waiting
        except TimeoutError:
            late = Refused(
                Code.HANDLER_FAILED, f"The handler took more than {self._limits.handler_s:g} s."
            )
            log.error("room.handler_timeout", room=self.name, ask=_label(command))
            self._fail_turn(command, answered, turn, late)
        except Exception as failure:
            self._fail_turn(command, answered, turn, failure)
        except asyncio.CancelledError:
            self._fail_turn(command, answered, turn, Refused(Code.BUSY, MAILBOX_FULL))
            raise
        else:
            self._finish(command, answered, turn)
        finally:
            self.journal.unsettled = False
            self._running = None
        self._next()

    # -- how a turn ends ---------------------------------------------------------------------------

    def _finish(self, command: Command, answered: Answered, turn: Turn) -> None:
        """The handler succeeded: its effects join the draft, or, if they cannot, it failed."""
        held, draft, ask = self.journal.held, self.journal.draft, command.ask
        now = self._clock.wall_ms()
        try:
            lives = [
                Live(frame_of(tell, self.name), tell.audience)
                for tell in turn.tells
                if tell.ephemeral
            ]
            checked_data(turn.reply)
            changed, removed = held.state.changes()
            seq = draft.add(turn, changed, removed, len(held.presence), now)
        except (TypeError, ValueError) as failure:
            self._fail_turn(command, answered, turn, failure)
            return
        held.state.take(changed, removed)
        for live in lives:
            self._live(self.name, live)
        if isinstance(ask, Enter):
            held.ledger.attach(command.sender.session, command.sender.attach)
            answer: Answer | Callable[[], Answer] = welcome(self.journal, ask)
        else:
            answer = Accepted(seq, turn.reply, delivered=turn.delivered)
        self._decide(command, answered, answer, seq, turn.reply)

    def _fail_turn(
        self, command: Command, answered: Answered, turn: Turn, failure: BaseException
    ) -> None:
        """The handler failed or refused: nothing of it has happened."""
        for undo in reversed(turn.undo):
            undo()
        self.journal.held.state.drop()
        if not isinstance(failure, Refused):
            log.error(
                "room.handler_failed", room=self.name, ask=_label(command),
                session=command.sender.session, exc_info=failure,
            )  # fmt: skip
            failure = Refused(Code.HANDLER_FAILED, "The room could not handle that; it is logged.")
        self._decide(command, answered, Denied.of(failure), None, None)

    def _decide(
        self,
        command: Command,
        answered: Answered,
        answer: Answer | Callable[[], Answer],
        seq: int | None,
        reply: object,
    ) -> None:
        ask, who = command.ask, command.sender
        id = ask.id if isinstance(ask, Say) and not ask.ephemeral else None
        denied = (answer.code, answer.message) if isinstance(answer, Denied) else None
        done = Done(who.session, who.attach, command.n, who.user, id, seq, reply, denied)
        if command.n or id is not None:
            self.journal.held.ledger.record(done)
            self.journal.draft.done.append(done)
        self.journal.draft.answers.append((answered, answer))

    def _listing(self) -> Listing:
        presence, draft = self.journal.held.presence, self.journal.draft
        return Listing(draft.last, self.journal.epoch, len(presence), presence.listed())


def _label(command: Command) -> str:
    return command.ask.type if isinstance(command.ask, Say) else type(command.ask).__name__.lower()
