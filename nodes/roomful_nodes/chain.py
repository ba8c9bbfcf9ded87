"""The order of one room's blocks as a hub hears them: no entry twice, none left out unnoticed.

Blocks are announced at most once and never reordered, but some may be missing. So each must begin
where the one before has ended. What comes after a hole waits here, bounded, until the missing
entries have been read.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from roomful_protocol.blocks import Block, Entry, Heard

AHEAD: Final = 256
AHEAD_BYTES: Final = 1024 * 1024
"""What may wait behind a hole, in blocks and bytes; beyond, it is read again instead."""


class Chain:
    """Where the hub stands in a room: everything up to `head`, of the incarnation `epoch`.

    `expected` is the highest seq that was known to exist while it was missing. Both are 0 while
    `epoch` is None: not begun.
    """

    def __init__(self) -> None:
        self.epoch: str | None = None
        self.head = 0
        self.expected = 0
        self._ahead: deque[Heard] = deque()
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
        self._forget()

    def expect(self, seq: int) -> None:
        self.expected = max(self.expected, seq)

    def hear_next(self, heard: Heard | Block) -> Sequence[Entry] | None:
        """The entries of `heard`, if it is just what comes next; else None, and nothing is done."""
        if heard.first != self.head + 1 or heard.epoch != self.epoch or self._ahead:
            return None
        entries = heard.entries
        self.head += len(entries)
        return entries

    def hear(self, heard: Heard) -> Sequence[Entry]:
        """The entries that are next now that `heard` was announced: none if it is old or early."""
        if (entries := self.hear_next(heard)) is not None:
            return entries
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
        while self._ahead and self._ahead[0].first <= self.head + 1:
            heard = self._ahead.popleft()
            self._bytes -= _size(heard)
            due += [entry for entry in heard.entries if entry.seq > self.head]
            self.head = max(self.head, heard.last)
        return due

    def skip(self, seq: int) -> None:
        """Give up what is missing up to `seq`: nobody has it any more."""
        self.head = max(self.head, seq)

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
