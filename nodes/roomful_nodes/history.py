"""Reading a room's past: from its owner's memory, or from the pages that the owner names."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Protocol

import structlog
from msgspec.structs import replace

from roomful_protocol.blocks import Entry, Page
from roomful_protocol.codecs.stored import unpack_page
from roomful_protocol.errors import Code, Refused
from roomful_protocol.ids import RoomName
from roomful_protocol.messages import Answer, Ask, Denied, Entries, Read, Sender, refused
from roomful_rooms.log import Archive, Unavailable
from roomful_rooms.tasks import Tasks

PAGES: Final = 16
"""Pages kept in memory, of all rooms: after a restart many clients ask for the same ones."""
AHEAD: Final = PAGES // 2
"""So many of them may be there for somebody who has yet to read them."""
VAIN: Final = 4 * PAGES
"""After so many others were loaded, nobody is expected any more to read what was loaded ahead."""
VISIBLE_BYTES: Final = 512 * 1024
"""One answer to a client carries no more than this, whatever its limit; it may ask on."""
VANISHED: Final = 3
"""A page may go between its naming and its loading, as history is forgotten: so often it is asked
for anew."""

log = structlog.get_logger()

_Key = tuple[RoomName, str, Page]


class Asks(Protocol):
    """The way to the owners of rooms."""

    async def request(self, room: RoomName, sender: Sender, ask: Ask) -> Answer:
        """One question; Denied(unavailable) when nobody answers in time."""
        ...


class History:
    """A node's reader of the past, for clients and for its own hub."""

    def __init__(self, asks: Asks, archive: Archive, tasks: Tasks) -> None:
        self._asks, self._archive, self._tasks = asks, archive, tasks
        self._pages: OrderedDict[_Key, tuple[Entry, ...]] = OrderedDict()
        self._loading: dict[_Key, asyncio.Task[tuple[Entry, ...] | None]] = {}
        # What was loaded ahead and is not read yet, by how many had been loaded before.
        self._unread: dict[_Key, int] = {}
        self._loads = 0

    async def read(
        self, room: RoomName, sender: Sender, read: Read, *, ahead: bool = False
    ) -> Entries:
        """The answer to `read`, its pages resolved: at least one entry if there is any there.

        `ahead`: more will be read at once, so have it loaded in the meantime. Raises Refused as the
        owner denies it, or if the archive does not give the pages.
        """
        for _ in range(VANISHED):
            answer = await self._asks.request(room, sender, read)
            if isinstance(answer, Denied):
                raise refused(answer)
            if not isinstance(answer, Entries):
                raise TypeError(f"not an answer to a reading: {answer!r}")
            if not answer.pages:
                return answer
            first, *following = [(room, answer.epoch, page) for page in answer.pages]
            if (entries := await self._page(first)) is not None:
                for page in following if ahead else ():
                    self._ahead(page)
                return _chosen(entries, read, answer)
        raise Refused(Code.UNAVAILABLE, "That part of the history cannot be had now; try again.")

    async def visible(self, room: RoomName, sender: Sender, read: Read) -> tuple[list[Entry], bool]:
        """The entries of `read` that the sender may hear, at least one if there is any in that
        direction, and whether there are more. Raises as `read`."""
        found: list[Entry] = []
        wanted = read.limit
        while True:
            answer = await self.read(room, sender, read)
            heard = [
                one for one in answer.entries if one.audience.hears(sender.user, sender.session)
            ]
            found = heard + found if read.after is None else found + heard
            if len(found) >= wanted or not answer.more or not answer.entries:
                return _within(found, wanted, forward=read.after is not None, more=answer.more)
            if read.after is None:
                read = replace(read, before=answer.entries[0].seq)
            else:
                read = replace(read, after=answer.entries[-1].seq)

    async def _page(self, key: _Key) -> tuple[Entry, ...] | None:
        self._unread.pop(key, None)
        if (known := self._pages.get(key)) is not None:
            self._pages.move_to_end(key)
            return known
        # Many may wait for one loading: whoever stops waiting must not stop the others.
        return await asyncio.shield(self._begun(key))

    def _ahead(self, key: _Key) -> None:
        # Where many read at once, it would have to go again before it is read.
        if key not in self._pages and key not in self._loading and len(self._unread) < AHEAD:
            self._unread[key] = self._loads
            self._begun(key)

    def _begun(self, key: _Key) -> "asyncio.Task[tuple[Entry, ...] | None]":
        """The loading of a page, which may have begun already."""
        loading = self._loading.get(key)
        if loading is None:
            loading = self._tasks.start(self._load(key), f"load {key[0]} {key[2].key}")
            self._loading[key] = loading
            loading.add_done_callback(lambda _: self._end_loading(key))
        return loading

    def _end_loading(self, key: _Key) -> None:
        del self._loading[key]
        if key not in self._pages:
            self._unread.pop(key, None)

    async def _load(self, key: _Key) -> tuple[Entry, ...] | None:
        room, _, page = key
        try:
            blob = await self._archive.load(room, page.key, constant=True)
        except Unavailable as problem:
            log.warning("history.unavailable", room=room, page=page.first, reason=str(problem))
            return None
        if blob is None:
            return None
        try:
            entries = unpack_page(blob)
        except ValueError:
            # Of a version to come, say. Whoever waits for it must hear something.
            log.exception("history.unreadable", room=room, page=page.first)
            return None
        if not entries or entries[0].seq != page.first or entries[-1].seq != page.last:
            return None
        self._pages[key] = entries
        self._loads += 1
        if len(self._pages) > PAGES:
            self._make_room()
        return entries

    def _make_room(self) -> None:
        """Forget the page that was read longest ago."""
        unread = self._unread
        for key in [one for one, before in unread.items() if self._loads - before > VAIN]:
            del unread[key]
        del self._pages[next(key for key in self._pages if key not in unread)]


def _chosen(entries: Sequence[Entry], read: Read, answer: Entries) -> Entries:
    """`answer` with what `read` wants of the page that it names."""
    if read.after is not None:
        chosen = [entry for entry in entries if entry.seq > read.after][: read.limit]
        more = not chosen or chosen[-1].seq < answer.head
    else:
        before = answer.head + 1 if read.before is None else read.before
        chosen = [entry for entry in entries if entry.seq < before][-read.limit :]
        more = bool(chosen) and chosen[0].seq > answer.oldest
    return replace(answer, entries=tuple(chosen), pages=(), more=more)


def _within(
    found: list[Entry], limit: int, *, forward: bool, more: bool
) -> tuple[list[Entry], bool]:
    """As many of `found` as are wanted and fit one frame, from where the reading began."""
    ordered = found if forward else found[::-1]
    size, kept = 0, 0
    for entry in ordered[:limit]:
        size += len(entry.frame)
        if size > VISIBLE_BYTES and kept:
            break
        kept += 1
    chosen = ordered[:kept] if forward else ordered[:kept][::-1]
    return chosen, more or kept < len(found)
