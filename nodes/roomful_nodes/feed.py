"""One room as this node hears it: what is announced, put in order, made whole, and passed on.

Announcements may be missing. Then the feed reads what is missing from the room's owner, and nobody
is told anything out of order meanwhile. A member is served live from exactly where its past ends.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import structlog
from msgspec import Struct

from roomful_nodes.backoff import BACKOFF_S, Backoff
from roomful_nodes.chain import Chain
from roomful_nodes.delays import Delays
from roomful_nodes.fanout import Fanout, Follower
from roomful_nodes.history import History
from roomful_nodes.metrics import Metrics
from roomful_nodes.ring import Ring
from roomful_nodes.runs import shown_to
from roomful_protocol import frames
from roomful_protocol.blocks import Block, Entry
from roomful_protocol.codecs.stored import unpack_heard
from roomful_protocol.errors import Refused
from roomful_protocol.ids import RoomName
from roomful_protocol.messages import Entries, Live, Read, Sender
from roomful_rooms.log import Record
from roomful_rooms.tasks import Tasks

PATIENCE_S: Final = 0.05
"""What is known to exist may still be on its way: so long it is waited for."""
CHUNK: Final = 256
CHUNK_BYTES: Final = 64 * 1024
"""A member is attached at once if it has missed no more than this; else it catches up first."""

log = structlog.get_logger()


class _Held(Struct):
    """Of a member that knows the room up to `at`, which the feed has not heard yet."""

    at: int
    last: int


class Feed:
    """The room's live members on this node, and the newest entries for those who come back."""

    def __init__(
        self,
        room: RoomName,
        *,
        reader: Sender,
        history: History,
        patience: "Delays[Feed]",
        loop: asyncio.AbstractEventLoop,
        tasks: Tasks,
        metrics: Metrics,
    ) -> None:
        self.room = room
        self._reader, self._history, self._patience = reader, history, patience
        self._tasks, self._metrics = tasks, metrics
        self._chain = Chain()
        self._ring = Ring()
        self._fanout = Fanout(loop, metrics)
        self._held: dict[Follower, _Held] = {}
        self._repair: asyncio.Task[None] | None = None
        self._unchecked = self._closed = False
        self.backoff = Backoff()
        self.beginnings = 0
        """How often the room's numbers have started over."""

    @property
    def epoch(self) -> str | None:
        """The incarnation of the room's log; None before anything is known of it."""
        return self._chain.epoch

    @property
    def head(self) -> int:
        """The last seq that has been passed on."""
        return self._chain.head

    # -- hearing -----------------------------------------------------------------------------------

    def hear_own(self, block: Block) -> bool:
        """A block of this node's own was committed. False if it is not just what comes next: then
        it is not heard."""
        if (entries := self._chain.hear_next(block)) is None:
            return False
        self._pass_on(entries)
        return True

    def hear(self, record: Record) -> None:
        """A block was committed."""
        try:
            heard = unpack_heard(record.data)
        except ValueError:
            # Not skipped: the block after it shows a hole, which is read from the owner.
            log.exception("feed.unreadable", room=self.room, position=record.position)
            return
        self.backoff.heard()
        self.begin(heard.epoch, heard.first - 1)
        if heard.first <= self.head and self._contradicts(heard.entries):
            self._start_over(heard.epoch, heard.first - 1, "lost")
        self._pass_on(self._chain.hear(heard))
        if self._chain.broken:
            self._start_repair()

    def hear_live(self, live: Live) -> None:
        """Ephemeral events, or word of how far the room is."""
        if live.entries:
            self._fanout.push(live.entries)
        elif self.epoch is not None and live.head > self.head:
            self.backoff.heard()
            self._expect(live.head)

    def check(self) -> None:
        """Announcements may have been missed: compare with the owner."""
        if self.epoch is not None:
            self._unchecked = True
            self._start_repair()

    def begin(self, epoch: str, head: int) -> None:
        """The room is known to be at `head` of its incarnation `epoch`: start there, unless this is
        known already. If it is another incarnation, what was not heard of it is a gap."""
        if epoch != self._chain.epoch:
            self._start_over(epoch, head, "epoch")

    def _start_over(self, epoch: str, head: int, reason: str) -> None:
        before, known = self.head, self.epoch is not None
        self._ring.clear()
        self._chain.begin(epoch, head)
        self.beginnings += 1
        if known:
            log.warning(
                "feed.started_over", room=self.room, epoch=epoch, head=head, was=before,
                reason=reason,
            )  # fmt: skip
            # Its numbers start over at `head`, be that less than what was told before.
            held, self._held = self._held, {}
            self._tell_gap(frames.gap(self.room, before + 1, head, reason, epoch), held)

    def _contradicts(self, entries: Sequence[Entry]) -> bool:
        """Whether a number now names another event than the one that was told under it: then the
        broker has lost what it had acknowledged, and gives its numbers out again."""
        if not entries or entries[0].seq > self.head:
            return False
        told = self.recent(entries[0].seq - 1)
        return told is not None and told[0].frame != entries[0].frame

    def _pass_on(self, entries: Sequence[Entry]) -> None:
        if entries:
            self._ring.extend(entries)
            self._fanout.push(entries, paced=True)
        if self._held:
            self._release()

    def _tell_gap(self, frame: frames.Frame, held: Iterable[Follower]) -> None:
        """Nothing up to the head will come any more: tell live members; make `held` such."""
        self._fanout.gap(frame, self.head)
        for follower in held:
            follower.outbox.send(frame)
            self._fanout.add(follower, self.head)

    # -- what is missing ---------------------------------------------------------------------------

    def _expect(self, seq: int) -> None:
        """`seq` exists: if it is not heard of in a moment, read it."""
        self._chain.expect(seq)
        if self._repair is None and self not in self._patience:
            self._patience.begin(self)

    def waited(self) -> None:
        """The patience with what is on its way is over."""
        if self._chain.behind:
            self._start_repair()

    def _start_repair(self) -> None:
        if self._repair is None and not self._closed:
            self._repair = self._tasks.start(self._repaired(), f"repair {self.room}")

    async def _repaired(self) -> None:
        """Read on until nothing is known to be missing."""
        pause = BACKOFF_S[0]
        try:
            while True:
                before, self._unchecked = self.head, False
                try:
                    await self._read_on()
                except Refused as problem:
                    log.warning("feed.unrepaired", room=self.room, reason=str(problem))
                else:
                    if not self._chain.behind and not self._unchecked:
                        return
                # That answer may be older than the question whether anything is missing.
                if self.head > before or self._unchecked:
                    pause = BACKOFF_S[0]
                    continue
                # The owner is away, or does not know yet what others have heard of.
                pause = await self.backoff.wait(pause)
        finally:
            self._repair = None

    async def _read_on(self) -> None:
        """Read once what comes after the head. Raises Refused."""
        after = self.head
        answer = await self._next()
        self.begin(answer.epoch, answer.head)
        if self._contradicts(answer.entries):
            self._start_over(answer.epoch, answer.head, "lost")
        if self.head + 1 < answer.oldest <= answer.head:
            self._lose(answer.oldest - 1)
        found = [entry for entry in answer.entries if entry.seq > self.head]
        if found:
            self._metrics.gaps_repaired.inc()
            log.info("feed.repaired", room=self.room, after=after, up_to=found[-1].seq)
        self._chain.expect(answer.head)
        self._pass_on(self._chain.fill(found))

    async def _next(self) -> Entries:
        """What comes after the head; if there is any, after the last event that was told, read once
        more: it must be the same still."""
        again = 1 if len(self._ring) else 0
        if not self._chain.behind:
            # Nothing new, most likely. Then that event is spared: it may be in the archive.
            answer = await self._read_after(self.head)
            if answer.head <= self.head or not again:
                return answer
        answer = await self._read_after(self.head - again)
        ended = answer.entries and answer.entries[-1].seq <= self.head < answer.head
        if ended and not self._contradicts(answer.entries):
            # That was the last one of its page, and answers end with a page.
            return await self._read_after(self.head)
        return answer

    async def _read_after(self, seq: int) -> Entries:
        return await self._history.read(self.room, self._reader, Read(after=seq, limit=CHUNK))

    def _lose(self, seq: int) -> None:
        """What is missing up to `seq` is not kept any more."""
        first = self.head + 1
        log.warning("feed.lost", room=self.room, first=first, last=seq)
        self._ring.clear()
        self._chain.skip(seq)
        overtaken = self._take_held(seq)
        self._tell_gap(frames.gap(self.room, first, seq, "retention"), overtaken)

    # -- members -----------------------------------------------------------------------------------

    def attach(self, follower: Follower, at: int, last: int) -> bool:
        """Serve `follower` live from what comes after `at`; all up to there it has been told.

        `last` is the seq of the last event it was given. False if it is too far behind: then it has
        to catch up first. There is no await in here, so nothing falls between.
        """
        self.detach(follower)
        if at > self.head:
            self._held[follower] = _Held(at, last)
            self._expect(at)
            return True
        missed = self.recent(at)
        if missed is None or sum(len(entry.frame) for entry in missed) > CHUNK_BYTES:
            return False
        data, last = shown_to(follower, missed, last) if missed else (b"", last)
        if data:
            follower.outbox.write(data)
        self._fanout.add(follower, last)
        return True

    def detach(self, follower: Follower) -> None:
        self._fanout.remove(follower)
        self._held.pop(follower, None)

    def recent(self, after: int) -> list[Entry] | None:
        """The entries past `after` up to the head, if they are in memory."""
        return self._ring.after(after, self.head)

    def _release(self) -> None:
        for follower, held in self._take_held(self.head).items():
            if not self.attach(follower, held.at, held.last):
                follower.fell_behind(held.last)

    def _take_held(self, seq: int) -> dict[Follower, _Held]:
        """Those who were held because of what comes up to `seq`, no longer so."""
        ready = {follower: held for follower, held in self._held.items() if held.at <= seq}
        for follower in ready:
            del self._held[follower]
        return ready

    def close(self) -> None:
        self._closed = True
        self._patience.call_off(self)
        if self._repair is not None:
            self._repair.cancel()


def patience(loop: asyncio.AbstractEventLoop) -> Delays[Feed]:
    """For all feeds of a node: nearly every join waits for its own block to be announced."""
    return Delays(PATIENCE_S, Feed.waited, loop)
