"""One activation's hold on a room's log: recover, fence, append block after block.

While one append is in flight, all that handlers produce gathers in the next draft; so a busy room
writes many messages per round trip and an idle one writes at once. Nothing is answered and nothing
is read that the log has not acknowledged.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice

from roomful_protocol.blocks import Block, Member, Snapshot
from roomful_protocol.codecs.stored import pack_block
from roomful_protocol.ids import NodeId, RoomName, SessionId
from roomful_protocol.messages import Answer
from roomful_rooms.appends import Appends, Left, Wrote
from roomful_rooms.checkpoints import Checkpoints
from roomful_rooms.clock import Clock, NewId
from roomful_rooms.draft import Answered, Draft, give
from roomful_rooms.epochs import Epochs
from roomful_rooms.log import Archive, Conflict, Log
from roomful_rooms.pace import MANY, Pace
from roomful_rooms.presence import LISTED, Presence
from roomful_rooms.recent import Recent
from roomful_rooms.recovery import Recovered, recover
from roomful_rooms.tasks import Tasks, end


class Fenced(Exception):
    """Another activation writes to this room: nothing of this one's draft has happened."""


class Journal:
    """The log of one room, in the hands of the activation `writer` on `node` under lease `term`."""

    def __init__(
        self,
        room: RoomName,
        term: int,
        node: NodeId,
        *,
        log: Log,
        archive: Archive,
        clock: Clock,
        new_id: NewId,
        epochs: Epochs,
        tasks: Tasks,
        keep: int,
        wrote: Wrote,
        left: Left,
    ) -> None:
        self.room, self.term = room, term
        self.writer = f"{node}.{new_id()[:12]}"
        self.held = Recovered()
        self.recent = Recent("", 0, ())
        self.draft = Draft(room, 1)
        self._log, self._archive, self._clock = log, archive, clock
        self._epochs, self._tasks, self._wrote, self._left = epochs, tasks, wrote, left
        self._appends = Appends(room, log=log, epochs=epochs, tasks=tasks)
        self._checkpoints = Checkpoints(room, archive, clock, tasks, keep)
        self._number = 0
        self._pace = Pace(asyncio.get_running_loop())
        self._committing = False
        self._pausing: asyncio.Task[None] | None = None
        self._closing: asyncio.Future[None] | None = None
        self._in_flight: Draft | None = None
        self._again: Callable[[], None] = _nothing
        self._ended: Callable[[BaseException], None] = _nothing
        self._releasing = False
        self._broken = False
        self.before: Mapping[SessionId, Member | None] = {}
        """The sessions that a handler in progress lets in or out, as they were: it may yet fail, so
        nobody else is told."""

    @property
    def epoch(self) -> str:
        return self.recent.epoch

    @property
    def idle(self) -> bool:
        """Nothing waits for the log."""
        return not self._committing and not self.draft.answers

    async def open(self, again: Callable[[], None], ended: Callable[[BaseException], None]) -> None:
        """Recover the room and fence whoever wrote before.

        `again` is called when a full draft has been replaced by an empty one, `ended` if writing
        ends for another reason than `close`. Raises Fenced if a later term has written, and
        Unavailable.
        """
        self._again, self._ended = again, ended
        while not await self._activated():
            pass

    async def _activated(self) -> bool:
        """Write the activation record; False if somebody wrote while we were reading."""
        self.held = held = await recover(self.room, self._log, self._archive)
        if held.term > self.term:
            raise Fenced(f"{self.room} is written under term {held.term} > {self.term}")
        # A log with a hole is another history: clients must not take it for theirs.
        epoch = self._epochs.of(self.room, held)
        self.recent = Recent(epoch, held.seq - len(held.entries), held.pages)
        self.recent.add(held.entries)
        self.draft = Draft(self.room, held.seq + 1)
        block, since = self._block(self.draft), self._clock.monotonic()
        try:
            await self._appends.append(pack_block(block), held.position)
        except Conflict:
            return False
        self._wrote(self.room, block, self._clock.monotonic() - since)
        self._epochs.begun(self.room)
        self._checkpoints.begin(self.recent, held.blocks)
        if not held.whole:
            # Or the next to recover would find the same hole, or a snapshot of what is lost.
            await self._checkpoints.write(self._snapshot(held.seq), self._appends.position)
            self._checkpoints.blocks = 0
        return True

    def _block(self, draft: Draft) -> Block:
        self._number += 1
        return draft.block(
            term=self.term, writer=self.writer, number=self._number, epoch=self.recent.epoch,
            ts=self._clock.wall_ms(), count=len(self._members()),
        )  # fmt: skip

    def _members(self) -> tuple[Member, ...] | Presence:
        """Those of the log and the draft, whatever a handler in progress makes of them."""
        presence = self.held.presence
        return presence.as_before(self.before) if self.before else presence

    # -- committing --------------------------------------------------------------------------------

    def answer(self, answered: Answered, answer: Answer) -> None:
        """Have a command answered once all that came before it is in the log: now, if all is."""
        draft = self.draft
        if self._committing or self._releasing or draft.bytes:
            draft.answer(answered, answer)
            return
        # An answer may lead to the next command at once, whose answer must not go deeper.
        self._releasing = True
        try:
            give(answered, answer)
        finally:
            self._releasing = False

    def kick(self) -> None:
        """Write what the draft holds, or let the append in flight do that when it is done: at once
        where commands come alone; else when this turn is over, and to many at a pace. Whoever joins
        may come in a crowd: in one turn, and so in one block."""
        if self._committing or self._releasing or self._broken:
            return
        # An answer may lead to the next command at once: then this goes round, and not deeper.
        while not self.draft.effective:
            if not self.draft.answers:
                return
            try:
                self._release(self._turn_over())
            except Exception as reason:
                self._fail(reason)
        if not self._broken:
            self._committing = True
            if self._pace.alone and not self.draft.welcomes:
                self._commit()
            else:
                self._pace.call(self._commit)

    def _commit(self) -> None:
        if self._broken:
            return
        try:
            self._write(self._turn_over())
        except Exception as reason:
            self._fail(reason)

    def _write(self, draft: Draft) -> None:
        block = self._block(draft)
        # Of the room as it is now: later drafts must not be in it.
        snapshot = self._snapshot(draft.last) if self._checkpoints.due(draft.bytes) else None
        stored = partial(self._stored, draft, block, snapshot, self._clock.monotonic())
        self._appends.begin(pack_block(block), stored, self._fail)

    def _stored(self, draft: Draft, block: Block, snapshot: Snapshot | None, since: float) -> None:
        """The log has acknowledged `block`, `since` whose writing a `snapshot` may be due."""
        try:
            self.recent.add(block.entries)
            self._checkpoints.blocks += 1
            self._wrote(self.room, block, self._clock.monotonic() - since)
            if snapshot is None:
                self._answered(draft)
            else:
                waiting = self._checkpointed(draft, snapshot)
                self._pausing = self._tasks.start(waiting, f"pause {self.room}")
                self._pausing.add_done_callback(self._if_cancelled)
        except Exception as reason:
            self._fail(reason)

    def _answered(self, draft: Draft) -> None:
        """All that waited for `draft` has happened: go on with what has gathered meanwhile."""
        try:
            self._release(draft)
            self._committing = False
            if self.draft.bytes:
                self.kick()
        except Exception as reason:
            self._fail(reason)
        if not self._committing:
            self._rest()

    async def _checkpointed(self, draft: Draft, snapshot: Snapshot) -> None:
        """A checkpoint is due: go on when it has begun, which may take long if it is overdue."""
        try:
            await self._checkpoints.start(snapshot, self._appends.position)
        except Exception as reason:
            self._fail(reason)
        else:
            self._answered(draft)

    def _if_cancelled(self, pausing: "asyncio.Task[None]") -> None:
        if pausing.cancelled():
            self._fail(asyncio.CancelledError())

    def _fail(self, reason: BaseException) -> None:
        self._ended(Fenced(self.room) if isinstance(reason, Conflict) else reason)
        self._rest()

    def _rest(self) -> None:
        """Nothing is written now: whoever closes the room may go on."""
        self._committing = False
        if self._closing is not None and not self._closing.done():
            self._closing.set_result(None)

    def _turn_over(self) -> Draft:
        draft, pace = self.draft, self._pace
        self._in_flight, pace.alone = draft, len(draft.answers) <= 1
        pace.busy = not pace.alone and len(self.held.presence) >= MANY
        if draft.welcomes:
            members = self._members()
            draft.members_at_end = (len(members), tuple(islice(members, LISTED)))
        self.draft = draft.following()
        if draft.full:
            asyncio.get_running_loop().call_soon(self._again)
        return draft

    def _release(self, draft: Draft) -> None:
        self._releasing = True
        try:
            answers = draft.answers
            while answers:
                answered, answer = answers.popleft()
                if callable(answer):
                    answer = draft.made(answered, answer)
                give(answered, answer)
            self._in_flight = None
        finally:
            self._releasing = False

    def abandon(self) -> list[Answered]:
        """Write nothing more: who still waits for an answer that will not come from here."""
        self._broken = True
        # They lead to the actor, which leads here: no cycle may be left of a room that is closed.
        self._again, self._ended = _nothing, _nothing
        self._appends.abandon()
        self._left(self.room)
        self._checkpoints.abandon()
        end(self._pausing)
        self._pausing = None
        self._rest()
        drafts = [draft for draft in (self._in_flight, self.draft) if draft is not None]
        waiting = [answered for draft in drafts for answered, _ in draft.answers]
        for draft in drafts:
            draft.answers.clear()
        return waiting

    def _snapshot(self, seq: int) -> Snapshot:
        held, members = self.held, tuple(self._members())
        kept = held.ledger.kept({member.session for member in members})
        return Snapshot(
            position=0, epoch=self.epoch, seq=seq, ts=self._clock.wall_ms(), pages=(),
            members=members, state=dict(held.state.values_now()), done=kept.numbered,
            known=kept.known,
        )  # fmt: skip

    async def close(self) -> None:
        """Write out the draft and a last snapshot, so that the next owner starts at once."""
        while self._committing:
            self._closing = asyncio.get_running_loop().create_future()
            await self._closing
        # What was not committed is in memory still: it must not get into a snapshot.
        if self._checkpoints.blocks and not self._broken:
            await self._checkpoints.start(self._snapshot(self.recent.head), self._appends.position)
        await self._checkpoints.settled()


def _nothing(*_: object) -> None:
    """Takes what nobody waits for."""
