"""The order of one room's blocks as a hub hears them: no entry twice, none left out unnoticed.

Blocks are announced at most once and never reordered, but some may be missing. So each must begin
where the one before has ended. What comes after a hole waits here, bounded, until the missing
entries have been read.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from roomful_protocol.blocks import Block, Entry, Heard

AHEAD: Final = 256
AHEAD_BYTES: Final = 1024 * 1024
"""What may wait behind a hole, in blocks and bytes; beyond, it is read again instead."""


class Chain:
    """Where the hub stands in a room: everything up to `head`, of the incarnation `epoch`.

    `expected` is the highest seq known to exist. Both are 0 while `epoch` is None: not begun.
    `link` tells how often the connection was lost by which announcements come, and whether it is
    there.
    """

    def __init__(self, link: Callable[[], tuple[int, bool]]) -> None:
        self.epoch: str | None = None
        self.head = 0
        self.expected = 0
        self._ahead: deque[Heard] = deque()
        # Records that this node has written and heard, and that may be announced yet. Those that
        # are forgotten are heard once more, as old: nothing need be announced for long.
        self._own: deque[int] = deque(maxlen=AHEAD)
        self._link, self._linked = link, link()
        self._bytes = 0

    @property
    def behind(self) -> bool:
        """Whether entries are known to be missing, though they may be on their way."""
        return self.expected > self.head

    @property
    def broken(self) -> bool:
        """Whether something was announced after what is missing: it will not come any more."""
        return bool(self._ahead) and self.behind

    def begin(self, epoch: str, head: int) -> None:
        """Take up the room after `head`, forgetting all else."""
        self.epoch, self.head, self.expected = epoch, head, head
        # A log that has lost its end gives positions out again.
        self._own.clear()
        self._forget()

    def expect(self, seq: int) -> None:
        self.expected = max(self.expected, seq)

    def hear_own(self, block: Block, position: int) -> Sequence[Entry]:
        """The entries of a block that this node itself has written, as the log's record at
        `position`, if that is just what comes next: then it need not be announced."""
        if block.epoch != self.epoch or block.first != self.head + 1 or self._ahead:
            return ()
        self._announced().append(position)
        self.expect(block.last)
        self.head = block.last
        return block.entries

    def has_heard(self, position: int) -> bool:
        """Whether the record that is announced now was heard as this node's own."""
        own = self._announced()
        while own and own[0] < position:
            own.popleft()
        if not own or own[0] != position:
            return False
        own.popleft()
        return True

    def _announced(self) -> deque[int]:
        """Its own records that may still be announced: none from before a loss, or while it lasts.
        Who took those for heard would be deaf to a log that has lost its end, and gives their
        positions out again."""
        if (linked := self._link()) != self._linked:
            self._linked = linked
            self._own.clear()
        return self._own

    def hear(self, heard: Heard) -> Sequence[Entry]:
        """The entries that are next now that `heard` was announced: none if it is old or early."""
        if heard.first == self.head + 1 and not self._ahead:
            self.head = last = heard.last
            if last > self.expected:
                self.expected = last
            return heard.entries
        self.expect(heard.last)
        if heard.first > self.head + 1:
            self.expect(heard.first - 1)
            self._hold(heard)
            return ()
        return self.fill(heard.entries)

    def fill(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those of `entries` that are next, and whatever waited for them. `entries` are consecutive
        and begin no later than after `head`."""
        due = [entry for entry in entries if entry.seq > self.head]
        if due:
            self.head = due[-1].seq
            self.expect(self.head)
        while self._ahead and self._ahead[0].first <= self.head + 1:
            heard = self._ahead.popleft()
            self._bytes -= _size(heard)
            due += [entry for entry in heard.entries if entry.seq > self.head]
            self.head = max(self.head, heard.last)
        return due

    def skip(self, seq: int) -> None:
        """Give up what is missing up to `seq`: nobody has it any more."""
        self.head = max(self.head, seq)
        self.expect(seq)

    def _hold(self, heard: Heard) -> None:
        self._ahead.append(heard)
        self._bytes += _size(heard)
        if len(self._ahead) > AHEAD or self._bytes > AHEAD_BYTES:
            self._forget()

    def _forget(self) -> None:
        self._ahead.clear()
        self._bytes = 0


def _size(heard: Heard) -> int:
    return sum(len(entry.frame) for entry in heard.entries)
