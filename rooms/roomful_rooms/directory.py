"""Seam: a few keys that the cluster agrees on, changed only by compare-and-set.

It holds one key per living node (with a time to live) and the table of partitions. Who may own what
is decided in `ownership`; here is only the agreement.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from roomful_rooms.log import Conflict, Following, Unavailable

__all__ = ["Conflict", "Directory", "Following", "Item", "Unavailable"]


@dataclass(frozen=True, slots=True)
class Item:
    """A key's value at a revision; `value` is None when it was deleted or has expired."""

    key: str
    value: bytes | None
    revision: int


class Directory(Protocol):
    """Keys of `[a-z0-9.-]`; revisions grow over all keys."""

    async def put(self, key: str, value: bytes, after: int, ttl_s: int | None = None) -> int:
        """Write if the key's newest revision is `after` (0: it does not exist or has expired).

        With `ttl_s` (whole seconds, at least 1) the key expires unless it is put again in time.
        Returns the new revision. Raises Conflict (somebody was first: look again) and Unavailable
        (outcome unknown: look again).
        """
        ...

    async def delete(self, key: str, after: int) -> None:
        """Delete if the newest revision is `after`. Raises Conflict and Unavailable."""
        ...

    async def items(self) -> dict[str, Item]:
        """All keys that exist, never stale. Raises Unavailable."""
        ...

    async def watch(self, heard: Callable[[Item], None]) -> Following:
        """Call `heard` with each change from now on, expiry included, in order, at most once each.

        Changes may be missing around a reconnect: call `items` from time to time.
        """
        ...
