"""Log and archive in memory whose writes a test can hold up, to look at what happens meanwhile."""

import asyncio
from collections.abc import Callable
from functools import partial

from roomful_rooms.log import Conflict
from roomful_rooms.memory_link import Link
from roomful_rooms.memory_log import LogStore, MemoryArchive, MemoryLog


class HeldLog(MemoryLog):
    """A log whose appends can be held up: before they are written, or before they are told so."""

    def __init__(self, store: LogStore, link: Link | None = None) -> None:
        super().__init__(store, link)
        self.may_write, self.may_tell = asyncio.Event(), asyncio.Event()
        self.may_write.set()
        self.may_tell.set()
        self._held: set[asyncio.Task[None]] = set()
        self._lost = False

    def attempt(
        self, room: str, data: bytes, after: int, told: Callable[[int | None], None]
    ) -> None:
        if self._lost:
            told(None)
            return
        if self.may_write.is_set() and self.may_tell.is_set():
            super().attempt(room, data, after, told)
            return
        task = asyncio.create_task(self._attempt(room, data, after, told))
        self._held.add(task)
        task.add_done_callback(partial(self._over, told))

    async def _attempt(
        self, room: str, data: bytes, after: int, told: Callable[[int | None], None]
    ) -> None:
        try:
            told(await self.append(room, data, after))
        except Conflict:
            told(None)

    def _over(self, told: Callable[[int | None], None], task: asyncio.Task[None]) -> None:
        self._held.discard(task)
        # Seen from outside, as a task that is cancelled at once sees nothing of it.
        if task.cancelled():
            told(None)

    def lose(self) -> None:
        """The connection ends for good: nobody will say what became of what is held up."""
        self._lost = True
        for task in self._held:
            task.cancel()

    async def append(self, room: str, data: bytes, after: int) -> int:
        await self.may_write.wait()
        position = await super().append(room, data, after)
        await self.may_tell.wait()
        return position


class HeldArchive(MemoryArchive):
    """An archive whose saves can be held up."""

    def __init__(self, store: LogStore, link: Link | None = None) -> None:
        super().__init__(store, link)
        self.may_save = asyncio.Event()
        self.may_save.set()
        self.saved: list[str] = []

    async def save(self, room: str, key: str, blob: bytes) -> None:
        await self.may_save.wait()
        await super().save(room, key, blob)
        self.saved.append(key)
