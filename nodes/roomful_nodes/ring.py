"""The newest entries of a room, kept by the hub for those who come back soon."""

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

from roomful_protocol.blocks import Entry

KEPT: Final = 512
KEPT_BYTES: Final = 1024 * 1024


class Ring:
    """Consecutive entries up to the head, bounded in number and bytes: the oldest go first."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def extend(self, entries: Sequence[Entry]) -> None:
        """Add entries that follow the newest one."""
        kept, size = self._entries, self._bytes
        kept += entries
        for entry in entries:
            size += len(entry.frame)
        oldest = kept.popleft
        for _ in range(len(kept) - KEPT):
            size -= len(oldest().frame)
        while size > KEPT_BYTES:
            size -= len(oldest().frame)
        self._bytes = size

    def clear(self) -> None:
        self._entries.clear()
        self._bytes = 0

    def after(self, seq: int, head: int) -> list[Entry] | None:
        """The entries past `seq` up to `head`; None if some of them are not here any more."""
        missing = head - seq
        if missing > len(self._entries):
            return None
        return list(islice(self._entries, len(self._entries) - missing, None)) if missing else []
