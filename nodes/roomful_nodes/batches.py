"""Many small messages to one receiver become one: all that gathers in a turn of the loop leaves at
its end."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from roomful_nodes.bus import MAX_PAYLOAD

K = TypeVar("K")
T = TypeVar("T")


class Batches(Generic[K, T]):
    """Items by whom they go to; `send` gets each receiver's at the end of the loop's turn."""

    def __init__(self, send: Callable[[K, list[T]], None]) -> None:
        self._send = send
        self._waiting: dict[K, list[T]] = {}

    def add(self, to: K, item: T) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.setdefault(to, []).append(item)

    def flush(self) -> None:
        """Send what has gathered, now."""
        waiting, self._waiting = self._waiting, {}
        for to, items in waiting.items():
            self._send(to, items)


def in_parts(
    items: list[T], pack: Callable[[list[T]], bytes], limit: int = MAX_PAYLOAD
) -> list[tuple[list[T], bytes]]:
    """`items` packed, in as few parts as fit a message of `limit` bytes; one item always is one."""
    payload = pack(items)
    if len(payload) <= limit or len(items) == 1:
        return [(items, payload)]
    middle = len(items) // 2
    return in_parts(items[:middle], pack, limit) + in_parts(items[middle:], pack, limit)
