"""The archive on NATS: one message per blob, or a head and parts where it is too large for one.

Parts belong to one version of a blob and never change; the head names the version and is written
last, by compare-and-set, so that a late repetition of an old save cannot replace a newer one. A
writer knows of a head before it writes parts: it has just read it, or read or written it earlier.
So when a head has been written at position H, every part before H that is not its own belongs to a
version that is gone, or to a writer whose own compare-and-set will fail: all of them can be purged.
"""

from asyncio import sleep
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from secrets import token_hex
from typing import Final, NamedTuple

from structlog import get_logger

from roomful_nodes import nats_stored
from roomful_nodes.nats_connection import NatsConnection
from roomful_nodes.nats_requests import NoAnswer
from roomful_nodes.nats_stored import Rejected, Stored
from roomful_nodes.nats_streams import archive_stream
from roomful_nodes.nats_wire import field, headers
from roomful_protocol.ids import RoomName, partition_of
from roomful_protocol.subjects import Subjects, stream_of

PART_BYTES: Final = 512 * 1024
SAVE_S: Final = 5.0
HEADS: Final = 4096
"""So many heads are remembered, of all rooms: who replaces a blob need not read it first, all of
it."""

_PARTS: Final = "Roomful-Parts"
_NOT_THERE: Final = (nats_stored.NO_MESSAGE, 10043)
_NOT_FOUND: Final = "no message found"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Place:
    stream: str
    head: str

    def part(self, version: str, number: int) -> str:
        return f"{self.head}.{version}.{number}"

    @property
    def parts(self) -> str:
        """All parts of all versions."""
        return f"{self.head}.*.*"


class _Head(NamedTuple):
    """Where the head of a blob is, 0 if there is none, and whether it names parts."""

    position: int
    in_parts: bool


class NatsArchive:
    """One node's `Archive`."""

    def __init__(self, connection: NatsConnection, subjects: Subjects) -> None:
        self._connection = connection
        self._subjects = subjects
        self._heads: OrderedDict[str, _Head] = OrderedDict()

    def _place(self, room: RoomName, key: str) -> _Place:
        stream = archive_stream(self._subjects, stream_of(partition_of(room)))
        return _Place(stream, self._subjects.archive(room, key))

    # -- saving ------------------------------------------------------------------------------------

    async def save(self, room: RoomName, key: str, blob: bytes) -> None:
        place = self._place(room, key)
        for pause in nats_stored.pauses():
            try:
                # After a failure it is not known any more, and read.
                before = self._heads.pop(place.head, None) or await self._look(place)
                self._note(place, await self._save(place, blob, before))
                return
            except (NoAnswer, Rejected) as error:
                # Unknown, or another save came first: see what is there now, and save over it.
                if not nats_stored.lost_race(error):
                    log.warning("archive.save_failed", room=room, key=key, error=str(error))
                await sleep(pause)

    async def _look(self, place: _Place) -> _Head:
        """The head as it is now. Raises NoAnswer and Rejected."""
        found = await nats_stored.last(self._connection, place.stream, place.head)
        return _Head(found.position, _parts_of(found) is not None) if found else _Head(0, False)

    def _note(self, place: _Place, head: _Head) -> None:
        self._heads[place.head] = head
        self._heads.move_to_end(place.head)
        if len(self._heads) > HEADS:
            self._heads.popitem(last=False)

    async def _save(self, place: _Place, blob: bytes, before: _Head) -> _Head:
        """One attempt to replace `before`; the new head. Raises NoAnswer and Rejected."""
        # It passes only if `before` is still the newest message of its subject.
        expected: dict[str, str | int] = {"Nats-Expected-Last-Subject-Sequence": before.position}
        if len(blob) <= PART_BYTES:
            position = await self._write(place.head, blob, expected)
            if before.in_parts:
                await self._purge(place, position)
            return _Head(position, in_parts=False)
        version = token_hex(8)
        pieces = [blob[start : start + PART_BYTES] for start in range(0, len(blob), PART_BYTES)]
        first, *_ = [
            await self._write(place.part(version, number), piece, {})
            for number, piece in enumerate(pieces)
        ]
        named = {**expected, _PARTS: f"{version}.{len(pieces)}"}
        position = await self._write(place.head, b"", named)
        await self._purge(place, first)
        return _Head(position, in_parts=True)

    async def _write(self, subject: str, data: bytes, fields: Mapping[str, str | int]) -> int:
        header = headers(fields) if fields else None
        _, answer = await self._connection.request(subject.encode(), data, header, SAVE_S)
        position: int = nats_stored.parsed(answer)["seq"]
        return position

    async def _purge(self, place: _Place, before: int) -> None:
        """Remove the parts stored before a position."""
        query = {"filter": place.parts, "seq": before}
        await nats_stored.call(self._connection, f"STREAM.PURGE.{place.stream}", query, SAVE_S)

    # -- loading -----------------------------------------------------------------------------------

    async def load(self, room: RoomName, key: str, *, constant: bool = False) -> bytes | None:
        place = self._place(room, key)
        return await nats_stored.patiently(lambda: self._load(place, constant))

    async def _load(self, place: _Place, constant: bool) -> bytes | None:
        """The blob. Raises Rejected, and NoAnswer also if it was replaced in the meantime."""
        connection, stream = self._connection, place.stream
        # The leader's comes as base64 in JSON; but who does not have it may lag behind.
        head = await nats_stored.copy(connection, stream, place.head) if constant else None
        if head is None:
            head = await nats_stored.last(connection, stream, place.head)
        if head is None:
            self._note(place, _Head(0, in_parts=False))
            return None
        parts = _parts_of(head)
        self._note(place, _Head(head.position, parts is not None))
        if parts is None:
            return head.data
        version, _, count = parts.partition(".")
        pieces = [await self._part(place, version, number) for number in range(int(count))]
        return b"".join(pieces)

    async def _part(self, place: _Place, version: str, number: int) -> bytes:
        part = await nats_stored.copy(self._connection, place.stream, place.part(version, number))
        if part is None:
            # Purged, since there is a newer version; or on its way to the replica that answered.
            raise NoAnswer(f"part {number} is not there")
        return part.data

    async def discard(self, room: RoomName, key: str) -> None:
        place = self._place(room, key)
        known = self._heads.pop(place.head, None)
        await nats_stored.patiently(lambda: self._discard(place, known))

    async def _discard(self, place: _Place, known: _Head | None) -> None:
        # To look for a head is to read all of a blob. What is `known` may have been replaced since.
        if known is None or not await self._deleted(place, known):
            await self._deleted(place, await self._look(place))

    async def _deleted(self, place: _Place, head: _Head) -> bool:
        """Whether `head` was there, and is not any more. Raises NoAnswer and Rejected."""
        if not head.position:
            return False
        query = {"seq": head.position, "no_erase": True}
        try:
            await nats_stored.call(
                self._connection, f"STREAM.MSG.DELETE.{place.stream}", query, SAVE_S
            )
            was_there = True
        except Rejected as rejected:
            # The second is how a store fails that has dropped the block of messages it was in.
            if rejected.code not in _NOT_THERE and _NOT_FOUND not in str(rejected):
                raise
            was_there = False
        if head.in_parts:
            await self._purge(place, head.position)
        return was_there


def _parts_of(head: Stored) -> str | None:
    """`<version>.<count>` if the blob is in parts."""
    value = field(head.header, _PARTS.encode())
    return value.decode() if value else None
