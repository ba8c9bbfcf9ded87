"""The log on NATS: records are messages of streams, appended by compare-and-set per room."""

from asyncio import sleep
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from msgspec import Struct, json
from structlog import get_logger

from roomful_nodes import nats_stored
from roomful_nodes.nats_connection import NatsConnection, NatsFollowing
from roomful_nodes.nats_requests import Answer, NoAnswer
from roomful_nodes.nats_stored import IN_FLIGHT, WRONG_LAST, Rejected, Stored, TooMany
from roomful_nodes.nats_streams import log_stream
from roomful_nodes.nats_wire import sequence
from roomful_protocol.ids import Partition, RoomName, name_of, partition_of
from roomful_protocol.subjects import Subjects, stream_of
from roomful_rooms.log import Conflict, Record, Shortened

APPEND_S: Final = 2.0
"""How long an append waits for its acknowledgement before it looks for itself."""
UNANSWERED: Final = 3
"""An append that a broker who is there did not answer so often is worth a warning."""
SHORTER_LOOKS: Final = 12
"""So often, over some seconds, a log must look shorter than we know it before that is believed."""
BATCH_BYTES: Final = 4 * 2**20
CHUNK: Final = 256
"""Subjects asked for at once, where a partition has more rooms than the broker takes."""

log = get_logger(__name__)


class NatsLog:
    """One node's `Log`. `followed` is the connection that events come over; none: the same."""

    def __init__(
        self,
        connection: NatsConnection,
        subjects: Subjects,
        followed: NatsConnection | None = None,
    ) -> None:
        self._connection = connection
        self._subjects = subjects
        self._followed = followed or connection
        self._subject = lru_cache(maxsize=8192)(lambda room: subjects.log(room).encode())

    def _place(self, room: RoomName) -> tuple[str, str]:
        """The stream and the subject of a room."""
        stream = log_stream(self._subjects, stream_of(partition_of(room)))
        return stream, self._subjects.log(room)

    # -- appending ---------------------------------------------------------------------------------

    def attempt(
        self, room: RoomName, data: bytes, after: int, told: Callable[[int | None], None]
    ) -> None:
        """See `Log.attempt`."""
        try:
            self._connection.ask(
                self._subject(room), data, _comes_after(after), APPEND_S,
                lambda answer: told(_position(answer)),
            )  # fmt: skip
        except ValueError:
            told(None)  # It is too large, as `append` will say.

    async def append(self, room: RoomName, data: bytes, after: int) -> int:
        """See `Log.append`. Raises ValueError if the broker takes no message of this size."""
        try:
            return await self._write(room, data, after)
        except (NoAnswer, Rejected) as error:
            return await self._insist(room, data, after, error)

    async def _write(self, room: RoomName, data: bytes, after: int) -> int:
        """One attempt; its position. Raises Rejected, and NoAnswer with the outcome unknown."""
        header = _comes_after(after)
        _, answer = await self._connection.request(self._subject(room), data, header, APPEND_S)
        position: int = nats_stored.parsed(answer)["seq"]
        return position

    async def _insist(self, room: RoomName, data: bytes, after: int, error: Exception) -> int:
        """Find out what became of an append, and write the same bytes again until it is decided.

        Repeating is safe: all attempts name the same predecessor, so one of them at most is stored.
        """
        looks = 0
        for attempt, pause in enumerate(nats_stored.pauses(), 1):
            code = error.code if isinstance(error, Rejected) else None
            if attempt == UNANSWERED and code is None and self._connection.connected:
                log.warning("log.append_unanswered", room=room, error=str(error))
            rare = attempt & (attempt - 1) == 0  # the 1st, 2nd, 4th, 8th …
            if code is not None and rare and not nats_stored.lost_race(error):
                log.warning("log.append_rejected", room=room, error=str(error))
            if code != IN_FLIGHT:
                position = await self._landed(room, data, after)
                if position is not None:
                    return position
            if code == WRONG_LAST:
                looks += await self._shorter(room, after)
                if looks >= SHORTER_LOOKS:
                    raise Shortened(f"{room}: the log has lost record {after}")
            await sleep(pause)
            try:
                return await self._write(room, data, after)
            except (NoAnswer, Rejected) as again:
                error = again
        raise AssertionError("pauses never end")

    async def _landed(self, room: RoomName, data: bytes, after: int) -> int | None:
        """Where our record is, if it is the one after `after`; None: none is there, or no answer.

        Raises Conflict if the record there is another's: that one was first, for good.
        """
        stream, subject = self._place(room)
        try:
            found = await nats_stored.after(self._connection, stream, subject, after)
        except (NoAnswer, Rejected):
            return None
        if found is None:
            return None
        if found.data != data:
            raise Conflict(f"{room}: record {found.position} is another writer's")
        return found.position

    async def _shorter(self, room: RoomName, after: int) -> bool:
        """Whether the log ends before `after`: records were lost with a broker's disk."""
        stream, subject = self._place(room)
        try:
            found = await nats_stored.newest(self._connection, stream, subject)
        except (NoAnswer, Rejected):
            return False
        return (found.position if found else 0) < after

    # -- reading -----------------------------------------------------------------------------------

    async def last(self, room: RoomName) -> Record | None:
        stream, subject = self._place(room)
        found = await nats_stored.patiently(
            lambda: nats_stored.last(self._connection, stream, subject)
        )
        return Record(room, found.position, found.data) if found else None

    async def read(self, room: RoomName, after: int, limit: int) -> list[Record]:
        return await nats_stored.patiently(lambda: self._read(room, after, limit))

    async def _read(self, room: RoomName, after: int, limit: int) -> list[Record]:
        stream, subject = self._place(room)
        records: list[Record] = []
        while len(records) < limit:
            query = {
                "seq": after + 1,
                "next_by_subj": subject,
                "batch": limit - len(records),
                "max_bytes": BATCH_BYTES,
            }
            found, more = await nats_stored.batch(self._connection, stream, query)
            records += [Record(room, one.position, one.data) for one in found]
            if not found or not more:
                break
            after = found[-1].position
        return records

    async def rooms(self, partition: Partition) -> list[Record]:
        found = await nats_stored.patiently(lambda: self._newest_of(partition))
        return [Record(_room_of(one.subject), one.position, one.data) for one in found]

    async def _newest_of(self, partition: Partition) -> list[Stored]:
        number = stream_of(partition)
        stream = log_stream(self._subjects, number)
        pattern = f"{self._subjects.prefix}.log.{number}.{partition}.*"
        try:
            return await self._newest_each(stream, [pattern])
        except TooMany:
            subjects = await nats_stored.subjects(self._connection, stream, pattern)
        found: list[Stored] = []
        for start in range(0, len(subjects), CHUNK):
            found += await self._newest_each(stream, subjects[start : start + CHUNK])
        return found

    async def _newest_each(self, stream: str, subjects: list[str]) -> list[Stored]:
        query = {"multi_last": subjects}
        found, _ = await nats_stored.batch(self._connection, stream, query)
        return found

    # -- following ---------------------------------------------------------------------------------

    async def follow(self, room: RoomName, heard: Callable[[Record], None]) -> NatsFollowing:
        def hear(_: bytes, __: bytes | None, header: bytes | None, data: bytes) -> None:
            heard(Record(room, sequence(header), data))

        return await self._followed.listen(self._subjects.event(room), hear)


class _Acknowledged(Struct):
    """What the broker says of a message that it was to store, so far as it matters here."""

    seq: int = 0
    error: object = None


_acknowledged: Final = json.Decoder(_Acknowledged).decode


def _position(outcome: Answer | NoAnswer) -> int | None:
    """Where a record has been stored, if that is what the broker answers."""
    if isinstance(outcome, NoAnswer):
        return None
    try:
        stored = _acknowledged(outcome[1])
    except ValueError:
        return None
    return stored.seq if stored.seq and stored.error is None else None


def _comes_after(position: int) -> bytes:
    """The header of a message that is stored only as the next of its subject after `position`."""
    return b"NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: %d\r\n\r\n" % position


def _room_of(subject: str) -> RoomName:
    return name_of(subject.rpartition(".")[2])
