"""The running room: one mailbox, one handler at a time, one journal.

A command for an idle room is handled in the turn of the loop in which it arrives. Only a handler
that is `async` becomes a task, and then the commands after it wait in the mailbox.
"""

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import inf
from typing import Final

import structlog

from roomful_protocol.errors import Code
from roomful_protocol.ids import Partition, partition_of
from roomful_protocol.messages import (
    MOVED,
    Accepted,
    Answer,
    Command,
    Denied,
    Enter,
    Exit,
    Live,
    Read,
    Say,
)  # fmt: skip
from roomful_rooms.clock import Clock
from roomful_rooms.dispatch import begin
from roomful_rooms.draft import FULL_BYTES, Answered, Reply, give
from roomful_rooms.effects import Turn
from roomful_rooms.journal import Journal
from roomful_rooms.outcome import denial, ephemeral, failure_of, settle, take_back, take_over
from roomful_rooms.room import Context, Room
from roomful_rooms.tasks import Tasks, end
from roomful_rooms.welcome import look, welcome

log = structlog.get_logger()

MAILBOX_FULL: Final = "This room has more to do than it can; try again in a moment."
RETRY_MS: Final = 200
ACTS: Final = (Say, Enter, Exit)
"""What is decided once, and remembered; others only look."""


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
        self._wall_ms = clock.wall_ms
        # When, as far as its host has seen, which looks now and then: `inf` if it has been since.
        self.last_used = clock.monotonic()
        self._clock, self._tasks, self._limits, self._live = clock, tasks, limits, live
        self._ended = ended
        self._mailbox: deque[tuple[Command, Answered]] = deque()
        self._running: tuple[asyncio.Task[None], Answered] | None = None
        self._room: Room | None = None
        self.stopping = False
        self._closing = asyncio.Lock()
        self.closed = False
        self.opening = tasks.start(self._open(), f"open {self.name}")
        self.opening.add_done_callback(self._if_cancelled)

    @property
    def partition(self) -> Partition:
        return partition_of(self.name)

    @property
    def members(self) -> int:
        return len(self.journal.held.presence)

    @property
    def idle(self) -> bool:
        """Nothing runs, waits or is on its way to the log, and nobody is here."""
        busy = self._running or self._mailbox or self._room is None or self.stopping
        return not busy and self.journal.idle and not self.members

    # -- life --------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Recover and fence; commands wait meanwhile. What stops it goes to `ended`."""
        try:
            await self.journal.open(self._next, self._fail)
            self._room = self._made()
        except Exception as reason:
            self._fail(reason)
            return
        log.info(
            "room.opened", room=self.name, term=self.journal.term, seq=self.journal.recent.head,
            members=self.members,
        )  # fmt: skip
        self._next()

    def _made(self) -> Room:
        """The author's object. What it changes in its `__init__` is written like a handler's."""
        held, turn = self.journal.held, Turn()
        room = self.kind(Context(self.name, held.state, held.presence, self._clock, turn))
        live = ephemeral(self.name, turn.lives)
        take_over(self.journal, turn, self._wall_ms())
        if live.entries:
            self._shout(live)
        return room

    async def close(self) -> None:
        """Finish what runs, send away what waits (to be asked elsewhere), and write a snapshot."""
        self.stopping = True
        self._turn_away()
        async with self._closing:
            try:
                await asyncio.wait([self.opening])
                if self._running is not None:
                    await asyncio.wait([self._running[0]])
                if not self.closed:
                    await self.journal.close()
                    log.info("room.closed", room=self.name, seq=self.journal.recent.head)
            finally:
                self.drop()

    def drop(self) -> None:
        """Stop at once. Whatever was not committed has not happened: whoever waits may ask the next
        owner."""
        if self.closed:
            return
        self.stopping = self.closed = True
        self._turn_away()
        for answered in self.journal.abandon():
            give(answered, MOVED)
        running, self._running = self._running, None
        for task in (self.opening, running[0] if running else None):
            end(task)
        if running is not None:
            give(running[1], MOVED)

    def _turn_away(self) -> None:
        while self._mailbox:
            give(self._mailbox.popleft()[1], MOVED)

    def _if_cancelled(self, task: "asyncio.Task[None]") -> None:
        # Seen from outside, as a task that is cancelled at once sees nothing of it.
        if task.cancelled():
            self._fail(asyncio.CancelledError())

    def _fail(self, reason: BaseException) -> None:
        if not self.closed:
            self.drop()
            self._ended(self, reason)

    # -- commands ----------------------------------------------------------------------------------

    def receive(self, command: Command, answered: Answered) -> None:
        """Handle `command` now or when its turn comes; `answered` is called exactly once."""
        room = self._room
        if self.stopping:
            answered(MOVED)
        elif room is not None and (not self.waiting or isinstance(command.ask, Read)):
            self._handle(room, command, answered)
            self.journal.kick()
        elif len(self._mailbox) >= self._limits.mailbox:
            answered(Denied(Code.BUSY.slug, MAILBOX_FULL, RETRY_MS))
        else:
            self._mailbox.append((command, answered))

    @property
    def waiting(self) -> bool:
        """Whether what comes now has to wait for what came before."""
        if self._mailbox or self._running is not None:
            return True
        return self.journal.draft.bytes >= FULL_BYTES

    def _next(self) -> None:
        """Handle what waits, as far as it goes."""
        if (room := self._room) is None:
            return  # Not yet; once it is there, `_open` comes here.
        while self._mailbox and self._running is None and not self.journal.draft.full:
            self._handle(room, *self._mailbox.popleft())
        self.journal.kick()

    def _handle(self, room: Room, command: Command, answered: Answered) -> None:
        self.last_used = inf
        ask, held = command.ask, self.journal.held
        if not isinstance(ask, ACTS):
            look(self.journal, ask, answered)
            return
        member = held.presence.get(command.sender.session)
        decided = held.ledger.verdict(command, member)
        if decided is not None:
            self._repeat(command, answered, decided)
            return
        turn = room.context.turn = Turn()
        try:
            waiting = begin(room, command, member)
        except (Exception, asyncio.CancelledError) as failure:
            self._fail_turn(command, answered, turn, failure)
            return
        if waiting is not None and inspect.isawaitable(waiting):
            self._start(command, answered, turn, waiting)
        else:
            self._finish(command, answered, turn)

    def _repeat(self, command: Command, answered: Answered, decided: Answer) -> None:
        """What is decided already may be so under another number: then it is under this one, too.
        The decision may still be on its way to the log."""
        journal, ledger = self.journal, self.journal.held.ledger
        if (done := ledger.renumbered(command, decided)) is not None:
            ledger.record(done)
            journal.draft.decide(done)
        journal.answer(answered, decided)

    def _start(
        self, command: Command, answered: Answered, turn: Turn, waiting: Awaitable[object]
    ) -> None:
        # Before anything else runs: nobody may take the handler's word for who is here.
        self.journal.before = turn.before
        going_on = self._wait(command, answered, turn, waiting)
        task = self._tasks.start(going_on, f"handler {self.name}")
        task.add_done_callback(self._if_cancelled)
        if inspect.iscoroutine(waiting):
            # Or it would complain that nobody has awaited it, if the task is cancelled at once.
            task.add_done_callback(lambda _: waiting.close())
        self._running = (task, answered)

    async def _wait(
        self, command: Command, answered: Answered, turn: Turn, waiting: Awaitable[object]
    ) -> None:
        failure = await failure_of(waiting, self._limits.handler_s)
        if self.closed:
            return
        self.journal.before, self._running = {}, None
        if failure is None:
            self._finish(command, answered, turn)
        else:
            self._fail_turn(command, answered, turn, failure)
        self._next()

    # -- how a turn ends ---------------------------------------------------------------------------

    def _finish(self, command: Command, answered: Answered, turn: Turn) -> None:
        """The handler succeeded: its effects join the draft, or, if they cannot, it failed."""
        journal, ask, reply = self.journal, command.ask, turn.reply
        try:
            live = ephemeral(self.name, turn.lives) if turn.lives else None
            seq = take_over(journal, turn, self._wall_ms())
        except (TypeError, ValueError) as failure:
            self._fail_turn(command, answered, turn, failure)
            return
        if live is not None:
            # First of all: many may wait for it, and for the answer only one.
            self._shout(live)
        answer: Reply = Accepted(seq, reply, False, turn.delivered)
        if isinstance(ask, Enter):
            answer = welcome(journal, ask)
        settle(journal, command, answered, answer, seq, reply)

    def _fail_turn(
        self, command: Command, answered: Answered, turn: Turn, failure: BaseException
    ) -> None:
        """The handler failed or refused: nothing of it has happened."""
        denied = denial(self.journal, command, failure)
        take_back(self.journal, turn)
        if isinstance(command.ask, Exit) and turn.changes:
            # But who has gone has gone, and nobody would come to say so again.
            self.journal.held.presence.exit(command.sender.session)
            self._finish(command, answered, Turn(changes=turn.changes))
            return
        settle(self.journal, command, answered, denied, refused=(denied.code, denied.message))

    def _shout(self, live: Live) -> None:
        """Ephemeral events: what becomes of them does not concern the room."""
        try:
            self._live(self.name, live)
        except Exception:
            log.exception("room.live_failed", room=self.name)
