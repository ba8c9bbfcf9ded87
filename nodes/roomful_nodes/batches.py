"""Many small messages to one node become one: all that gathers in a turn of the loop leaves at its
end."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from roomful_nodes.bus import MAX_PAYLOAD
from roomful_protocol.ids import NodeId

T = TypeVar("T")


class Batches(Generic[T]):
    """Items by the node they go to; `send` gets each node's at the end of the loop's turn."""

    def __init__(self, send: Callable[[NodeId, list[T]], None]) -> None:
        self._send = send
        self._waiting: dict[NodeId, list[T]] = {}

    def add(self, node: NodeId, item: T) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.setdefault(node, []).append(item)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for node, items in waiting.items():
            self._send(node, items)


def in_parts(
    items: list[T], pack: Callable[[list[T]], bytes], limit: int = MAX_PAYLOAD
) -> Iterator[tuple[list[T], bytes]]:
    """`items` packed, in as few parts as fit a message of `limit` bytes; one item always is one."""
    payload = pack(items)
    if len(payload) <= limit or len(items) == 1:
        yield items, payload
        return
    middle = len(items) // 2
    yield from in_parts(items[:middle], pack, limit)
    yield from in_parts(items[middle:], pack, limit)
