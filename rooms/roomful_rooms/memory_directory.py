"""Memory twin of the directory: for tests and simulation, several nodes on one `DirectoryStore`."""

from asyncio import get_running_loop
from collections.abc import Callable
from functools import partial
from itertools import count

from roomful_rooms.clock import Clock
from roomful_rooms.directory import Conflict, Item
from roomful_rooms.memory_link import Link, Listener

Later = Callable[[float, Callable[[], None]], object]


def _by_loop(seconds: float, callback: Callable[[], None]) -> object:
    return get_running_loop().call_later(seconds, callback)


class DirectoryStore:
    """What the broker holds: each key's newest change, and who watches.

    `later` calls back after so many seconds; none: by the running loop.
    """

    def __init__(self, clock: Clock, later: Later | None = None) -> None:
        # Deletions and expiries stay here as items without a value, as markers in the broker.
        self.newest: dict[str, Item] = {}
        self.watchers: list[Listener[Item]] = []
        self._clock = clock
        self._later = later or _by_loop
        self._revisions = count(1)

    def change(self, key: str, value: bytes | None, after: int, ttl_s: int | None = None) -> int:
        """Write and announce. Raises Conflict."""
        newest = self.newest.get(key)
        gone = newest is None or newest.value is None
        if after != (newest.revision if newest else 0) and not (after == 0 and gone):
            raise Conflict(f"{key}: revision {after} is not the newest")
        item = self._write(key, value)
        if ttl_s is not None:
            self._expire(item, self._clock.monotonic() + ttl_s)
        return item.revision

    def _write(self, key: str, value: bytes | None) -> Item:
        item = Item(key, value, next(self._revisions))
        self.newest[key] = item
        for watcher in self.watchers:
            watcher.tell(item)
        return item

    def _expire(self, item: Item, deadline: float) -> None:
        """End `item` at `deadline` unless it has been written over by then."""
        if self.newest.get(item.key) is not item:
            return
        left = deadline - self._clock.monotonic()
        if left <= 0:
            self._write(item.key, None)
        else:
            # The loop's clock may be a little ahead of the injected one: look again then.
            self._later(left, partial(self._expire, item, deadline))

    def items(self) -> dict[str, Item]:
        return {item.key: item for item in self.newest.values() if item.value is not None}

    def watch(self, watcher: Listener[Item]) -> None:
        if watcher not in self.watchers:
            self.watchers.append(watcher)


class MemoryDirectory:
    """One node's `Directory` on a shared store."""

    def __init__(self, store: DirectoryStore, link: Link | None = None) -> None:
        self._store = store
        self._link = link or Link()

    async def put(self, key: str, value: bytes, after: int, ttl_s: int | None = None) -> int:
        return await self._link.ask(partial(self._store.change, key, value, after, ttl_s))

    async def delete(self, key: str, after: int) -> None:
        await self._link.ask(partial(self._store.change, key, None, after))

    async def items(self) -> dict[str, Item]:
        return await self._link.ask(self._store.items)

    async def watch(self, heard: Callable[[Item], None]) -> Listener[Item]:
        watchers = self._store.watchers
        listener = Listener(self._link, heard, lambda: watchers.remove(listener))
        await self._link.insist(partial(self._store.watch, listener))
        return listener
