"""The directory on NATS: a stream with one message per key, times to live and markers.

Not the broker's key-value store as nats-py wraps it: its watchers go blind for many seconds after
a server's restart, and it cannot create a key over the marker of an expired one.
"""

from asyncio import gather, sleep
from collections.abc import Callable
from typing import Final

from roomful_nodes import nats_stored
from roomful_nodes.nats_connection import NatsConnection, NatsFollowing
from roomful_nodes.nats_requests import NoAnswer
from roomful_nodes.nats_stored import IN_FLIGHT, WRONG_LAST, Rejected, Stored
from roomful_nodes.nats_streams import MARKER_S, directory_stream
from roomful_nodes.nats_wire import field, headers, sequence
from roomful_protocol.subjects import Subjects
from roomful_rooms.directory import Conflict, Item, Unavailable

PUT_S: Final = 2.0
ATTEMPTS: Final = 20
"""How often a write is repeated that the broker neither took nor refused for good."""
READS_AT_ONCE: Final = 64

_MARKER: Final = b"Nats-Marker-Reason"


class NatsDirectory:
    """One node's `Directory`."""

    def __init__(self, connection: NatsConnection, subjects: Subjects) -> None:
        self._connection = connection
        self._subjects = subjects
        self._stream = directory_stream(subjects)

    async def put(self, key: str, value: bytes, after: int, ttl_s: int | None = None) -> int:
        fields = {} if ttl_s is None else {"Nats-TTL": f"{ttl_s}s"}
        return await self._write(key, value, after, fields)

    async def delete(self, key: str, after: int) -> None:
        # A marker like the broker's own: it is told to watchers, and vanishes without another.
        fields = {"Nats-Marker-Reason": "Remove", "Nats-TTL": f"{MARKER_S}s"}
        await self._write(key, b"", after, fields)

    async def _write(self, key: str, value: bytes, after: int, fields: dict[str, str]) -> int:
        """The new revision. Raises Conflict and Unavailable."""
        expected = after
        try:
            for _, pause in zip(range(ATTEMPTS), nats_stored.pauses(), strict=False):
                try:
                    return await self._attempt(key, value, expected, fields)
                except Rejected as rejected:
                    match rejected.code:
                        case code if code == WRONG_LAST:
                            expected = await self._over_marker(key, after, expected)
                        case code if code != IN_FLIGHT:
                            raise
                await sleep(pause)
        except (NoAnswer, Rejected) as error:
            raise Unavailable(f"{key}: {error}") from error
        raise Unavailable(f"{key}: other writes are in the way")

    async def _attempt(self, key: str, value: bytes, expected: int, fields: dict[str, str]) -> int:
        header = headers({"Nats-Expected-Last-Subject-Sequence": expected, **fields})
        subject = self._subjects.directory(key).encode()
        _, answer = await self._connection.request(subject, value, header, PUT_S)
        revision: int = nats_stored.parsed(answer)["seq"]
        return revision

    async def _over_marker(self, key: str, after: int, expected: int) -> int:
        """The revision to write after, if the key is wanted absent and only its marker is there.

        Raises Conflict.
        """
        if after == 0:
            found = await self._newest(key)
            revision = found.position if found else 0
            if (found is None or _is_marker(found.header)) and revision != expected:
                return revision
        raise Conflict(f"{key}: revision {expected} is not the newest")

    async def _newest(self, key: str) -> Stored | None:
        return await nats_stored.newest(
            self._connection, self._stream, self._subjects.directory(key)
        )

    async def items(self) -> dict[str, Item]:
        return await nats_stored.patiently(self._items)

    async def _items(self) -> dict[str, Item]:
        # The leader is asked for each key: a replica, which answers batches, may lag behind.
        pattern = self._subjects.directory(">")
        subjects = await nats_stored.subjects(self._connection, self._stream, pattern)
        found: list[Stored | None] = []
        for start in range(0, len(subjects), READS_AT_ONCE):
            chunk = subjects[start : start + READS_AT_ONCE]
            found += await gather(
                *(nats_stored.newest(self._connection, self._stream, one) for one in chunk)
            )
        items = [self._item(one.subject, one) for one in found if one is not None]
        return {item.key: item for item in items if item.value is not None}

    def _item(self, subject: str, stored: Stored) -> Item:
        key = subject[len(self._subjects.directory("")) :]
        value = None if _is_marker(stored.header) else stored.data
        return Item(key, value, stored.position)

    async def watch(self, heard: Callable[[Item], None]) -> NatsFollowing:
        skip = len(self._subjects.directory_change(""))

        def hear(at: bytes, _: bytes | None, header: bytes | None, data: bytes) -> None:
            value = None if _is_marker(header) else data
            heard(Item(at[skip:].decode(), value, sequence(header)))

        return await self._connection.listen(self._subjects.directory_change(">"), hear)


def _is_marker(header: bytes | None) -> bool:
    """Whether a message says that its key was deleted or has expired."""
    return field(header, _MARKER) is not None
