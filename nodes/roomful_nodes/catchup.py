"""A member that is behind is told the past at its own pace, until it is where the room is."""

from typing import Final

import structlog

from roomful_nodes.backoff import BACKOFF_S
from roomful_nodes.fanout import Follower
from roomful_nodes.feed import Feed
from roomful_nodes.history import History
from roomful_nodes.runs import shown_to
from roomful_protocol import frames
from roomful_protocol.blocks import Entry
from roomful_protocol.errors import Refused
from roomful_protocol.messages import Read, Sender

CHUNK: Final = 4096
"""So many entries are asked for at once: what a page has, or fits an answer."""
CHUNK_BYTES: Final = 64 * 1024
"""What is written at once: then the client has to take it before there is more."""

log = structlog.get_logger()


class CatchUp:
    """One member's way from `after` to the live room; `last` is the last seq it was given."""

    def __init__(
        self,
        feed: Feed,
        history: History,
        follower: Follower,
        sender: Sender,
        after: int,
        last: int,
    ) -> None:
        self._feed, self._history = feed, history
        self._follower, self._sender = follower, sender
        self._epoch, self._beginning = feed.epoch, feed.beginnings
        self._after, self._last = after, last

    async def run(self) -> bool:
        """True once the member is served live, False if its socket has ended. Raises Stalled."""
        outbox, pause = self._follower.outbox, BACKOFF_S[0]
        while True:
            await outbox.drained()
            if not outbox.open:
                return False
            if self._arrived():
                return True
            if entries := await self._next():
                await self._tell(entries)
                pause = BACKOFF_S[0]
            else:
                # The owner is away, or does not know yet what this node has heard of.
                pause = await self._feed.backoff.wait(pause)

    def _arrived(self) -> bool:
        if self._feed.beginnings != self._beginning:
            # Its numbers are of a log that is gone.
            reason = "lost" if self._feed.epoch == self._epoch else "epoch"
            self._epoch, self._beginning = self._feed.epoch, self._feed.beginnings
            self._gap(self._feed.head, reason, self._epoch)
        return self._feed.attach(self._follower, self._after, self._last)

    async def _next(self) -> list[Entry]:
        """The entries that come next, from memory here or there; none if they cannot be had now."""
        recent = self._feed.recent(self._after)
        if recent is not None:
            return recent
        read = Read(after=self._after, limit=CHUNK)
        try:
            answer = await self._history.read(self._feed.room, self._sender, read, ahead=True)
        except Refused as problem:
            log.warning("catchup.waits", room=self._feed.room, reason=str(problem))
            return []
        if answer.epoch != self._epoch:
            self._feed.begin(answer.epoch, answer.head)
            return []
        if self._after + 1 < answer.oldest:
            self._gap(answer.oldest - 1, "retention")
        return [entry for entry in answer.entries if entry.seq > self._after]

    async def _tell(self, entries: list[Entry]) -> None:
        outbox, start, size = self._follower.outbox, 0, 0
        for end, entry in enumerate(entries, 1):
            size += len(entry.frame)
            if size >= CHUNK_BYTES or end == len(entries):
                await outbox.drained()
                data, self._last = shown_to(self._follower, entries[start:end], self._last)
                self._after = entry.seq
                outbox.write(data)
                start, size = end, 0

    def _gap(self, seq: int, reason: str, epoch: str | None = None) -> None:
        frame = frames.gap(self._feed.room, self._after + 1, seq, reason, epoch)
        self._follower.outbox.send(frame)
        self._after = self._last = seq
