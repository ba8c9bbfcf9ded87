"""The committed entries that an owner keeps in memory, and where the older ones are.

Entries wait here until a page of the archive has them, and the newest stay on for those who come
back: most catch-ups are served from memory.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from roomful_protocol.blocks import Entry, Page
from roomful_protocol.messages import Entries, Read

KEPT: Final = 512
KEPT_BYTES: Final = 1_000_000
ANSWER_BYTES: Final = 256_000
"""An answer carries no more than this; whoever wants more asks again."""


class Recent:
    """Entries `first` to `head` in memory, `pages` before them; `oldest` is the first retained."""

    def __init__(self, epoch: str, head: int, pages: Iterable[Page]) -> None:
        self.epoch = epoch
        self.head = head
        self.pages = list(pages)
        self.paged = self.pages[-1].last if self.pages else head
        self.unpaged_bytes = 0
        self._entries: deque[Entry] = deque()
        self._bytes = 0

    @property
    def first(self) -> int:
        return self._entries[0].seq if self._entries else self.head + 1

    @property
    def oldest(self) -> int:
        return self.pages[0].first if self.pages else self.first

    def add(self, entries: Sequence[Entry]) -> None:
        """Take committed entries; they must follow `head`."""
        if not entries:
            return
        size = 0
        for entry in entries:
            size += len(entry.frame)
        self.unpaged_bytes += size
        self.head = entries[-1].seq
        self._entries += entries
        self._trim(self._bytes + size)

    def _trim(self, size: int) -> None:
        """Of the entries, which have `size` bytes, keep what should be kept."""
        kept, paged = self._entries, self.paged
        # What no page has is not even looked at: a busy room has thousands of these.
        while (len(kept) > KEPT or size > KEPT_BYTES) and kept[0].seq <= paged:
            size -= len(kept.popleft().frame)
        self._bytes = size

    # -- paging ------------------------------------------------------------------------------------

    def unpaged(self, up_to: int) -> list[Entry]:
        """The entries that no page has yet, up to seq `up_to`."""
        return self._between(self.paged + 1, up_to)

    def page_written(self, page: Page) -> None:
        """The archive has `page`: its entries may leave memory."""
        self.pages.append(page)
        self.paged = page.last
        self.unpaged_bytes = sum(len(entry.frame) for entry in self.unpaged(self.head))
        self._trim(self._bytes)

    def expired(self, keep: int) -> list[Page]:
        """Take away the pages that are not needed to keep `keep` events, the newest never."""
        dropped = []
        while len(self.pages) > 1 and self.pages[0].last <= self.head - keep:
            dropped.append(self.pages.pop(0))
        return dropped

    # -- reading -----------------------------------------------------------------------------------

    def _between(self, first: int, last: int) -> list[Entry]:
        start = max(first - self.first, 0)
        return list(islice(self._entries, start, max(last - self.first + 1, start)))

    def all_after(self, after: int) -> tuple[Entry, ...] | None:
        """Everything past `after`, if it is in memory and not too much for one answer."""
        if after >= self.head:
            return ()
        if after + 1 < self.first:
            return None
        entries = self._between(after + 1, self.head)
        if sum(len(entry.frame) for entry in entries) > ANSWER_BYTES:
            return None
        return tuple(entries)

    def read(self, read: Read) -> Entries:
        """The answer to `read`: entries from memory, or the page where to go on."""
        if read.after is not None:
            return self._forward(max(read.after, self.oldest - 1), read.limit)
        before = self.head + 1 if read.before is None else min(read.before, self.head + 1)
        return self._backward(before, read.limit)

    def _forward(self, after: int, limit: int) -> Entries:
        if after + 1 < self.first:
            pages = self._page_of(after + 1)
            following = self._page_of(pages[0].last + 1) if pages else ()
            return self._answer(pages=pages + following, more=True)
        chosen = _within(self._between(after + 1, after + limit))
        last = chosen[-1].seq if chosen else self.head
        return self._answer(chosen, more=last < self.head)

    def _backward(self, before: int, limit: int) -> Entries:
        if before <= self.first:
            return self._answer(pages=self._page_of(before - 1), more=before > self.oldest)
        newest_first = self._between(before - limit, before - 1)[::-1]
        chosen = _within(newest_first)[::-1]
        return self._answer(chosen, more=chosen[0].seq > self.oldest)

    def _page_of(self, seq: int) -> tuple[Page, ...]:
        index = bisect_right(self.pages, seq, key=lambda page: page.first) - 1
        return (self.pages[index],) if index >= 0 and self.pages[index].last >= seq else ()

    def _answer(
        self, entries: Iterable[Entry] = (), pages: tuple[Page, ...] = (), *, more: bool
    ) -> Entries:
        return Entries(self.epoch, self.head, self.oldest, tuple(entries), pages, more)


def _within(entries: list[Entry]) -> list[Entry]:
    """As many of `entries` from the front as one answer may carry, at least one."""
    room = ANSWER_BYTES
    for index, entry in enumerate(entries):
        room -= len(entry.frame)
        if room < 0 and index:
            return entries[:index]
    return entries
