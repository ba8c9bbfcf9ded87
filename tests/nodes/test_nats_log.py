"""The log on a nats-server that is killed, paused and cut off: what the contract cannot show."""

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest
from structlog.testing import capture_logs
from tests.support.nats_server import NatsServer
from tests.support.twins import opened, until

from roomful_nodes import nats_log, nats_stored
from roomful_nodes.nats_archive import NatsArchive
from roomful_nodes.nats_connection import NatsConnection
from roomful_nodes.nats_directory import NatsDirectory
from roomful_nodes.nats_log import NatsLog
from roomful_nodes.nats_requests import NoAnswer, Told
from roomful_nodes.nats_stored import IN_FLIGHT, WRONG_LAST, Rejected
from roomful_nodes.nats_streams import prepare
from roomful_protocol.subjects import Subjects
from roomful_rooms.directory import Item
from roomful_rooms.log import Conflict, Record, Unavailable

pytest_plugins = ["tests.support.nats_server", "tests.support.frail"]

ROOM = "lobby"


async def stored(log: NatsLog) -> list[bytes]:
    return [record.data for record in await log.read(ROOM, 0, 10_000)]


# -- appending -------------------------------------------------------------------------------------


async def test_appends_across_restarts_are_stored_once_each(
    frail_server: NatsServer, connection: NatsConnection, subjects: Subjects
) -> None:
    log = NatsLog(connection, subjects)
    written: list[bytes] = []
    position = 0

    async def write() -> None:
        nonlocal position
        while True:
            data = b"record %d" % len(written)
            position = await log.append(ROOM, data, position)
            written.append(data)

    async def more(count: int) -> None:
        enough = len(written) + count
        await until(lambda: len(written) >= enough)

    writing = asyncio.create_task(write())
    for _ in range(4):
        await more(20)
        frail_server.restart()
    await more(20)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    found = await stored(log)
    # The last one was cancelled: it may have been stored.
    assert found[: len(written)] == written
    assert len(found) <= len(written) + 1


async def test_an_append_whose_acknowledgement_is_late_is_stored_once(
    frail_server: NatsServer,
    connection: NatsConnection,
    subjects: Subjects,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The broker hangs with the append in its hands; the same bytes are sent again meanwhile."""
    monkeypatch.setattr(nats_log, "APPEND_S", 0.1)
    monkeypatch.setattr(nats_log, "UNANSWERED", 1)
    log = NatsLog(connection, subjects)
    first = await log.append(ROOM, b"one", 0)
    with capture_logs() as logged:
        frail_server.pause()
        appending = asyncio.create_task(log.append(ROOM, b"two", first))
        done, _ = await asyncio.wait([appending], timeout=0.5)
        assert not done
        frail_server.resume()
        second = await appending
    assert [event["event"] for event in logged] == ["log.append_unanswered"]
    third = await log.append(ROOM, b"three", second)
    assert await stored(log) == [b"one", b"two", b"three"]
    assert (await log.last(ROOM)) == Record(ROOM, third, b"three")


async def test_an_append_while_the_broker_is_away_waits_for_it(
    frail_server: NatsServer, connection: NatsConnection, subjects: Subjects
) -> None:
    log = NatsLog(connection, subjects)
    first = await log.append(ROOM, b"one", 0)
    frail_server.kill()
    appending = asyncio.create_task(log.append(ROOM, b"two", first))
    done, _ = await asyncio.wait([appending], timeout=0.3)
    assert not done
    frail_server.start()
    assert await appending > first
    assert await stored(log) == [b"one", b"two"]


async def test_an_append_that_was_overtaken_while_the_broker_was_away_is_fenced(
    frail_server: NatsServer,
    connection: NatsConnection,
    witness: NatsConnection,
    subjects: Subjects,
) -> None:
    log, other = NatsLog(connection, subjects), NatsLog(witness, subjects)
    first = await log.append(ROOM, b"one", 0)
    frail_server.kill()
    await until(lambda: not connection.connected)
    appending = asyncio.create_task(other.append(ROOM, b"winner", first))
    frail_server.start()
    await appending
    with pytest.raises(Conflict):
        await log.append(ROOM, b"loser", first)
    assert await stored(log) == [b"one", b"winner"]


class Faulty:
    """A connection whose first answers to appends go as scripted: errors instead of answers.

    `stored`: the append reaches the broker all the same, only its acknowledgement is lost.
    """

    def __init__(self, connection: NatsConnection, *script: tuple[str, Exception]) -> None:
        self._connection = connection
        self._script = list(script)
        self.asked = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    async def request(
        self, subject: bytes, payload: bytes, header: bytes | None = None, timeout_s: float = 2.0
    ) -> tuple[bytes | None, bytes]:
        if header is None or not self._script:
            return await self._connection.request(subject, payload, header, timeout_s)
        self.asked += 1
        what, error = self._script.pop(0)
        if what == "stored":
            await self._connection.request(subject, payload, header, timeout_s)
        raise error


def faulty_log(
    connection: NatsConnection, subjects: Subjects, *script: tuple[str, Exception]
) -> tuple[NatsLog, Faulty]:
    faulty = Faulty(connection, *script)
    return NatsLog(faulty, subjects), faulty  # type: ignore[arg-type]


LOST = NoAnswer("lost")
BUSY = Rejected(IN_FLIGHT, "in flight")
WRONG = Rejected(WRONG_LAST, "wrong last sequence")
FULL = Rejected(10047, "no space left")


@pytest.mark.parametrize(
    "script",
    [
        [("stored", LOST)],
        [("lost", LOST)],
        [("lost", LOST), ("stored", LOST)],
        [("stored", LOST), ("lost", LOST), ("lost", BUSY)],
        [("lost", BUSY), ("lost", BUSY), ("lost", BUSY)],
        [("stored", BUSY)],
        [("stored", WRONG)],
        [("lost", WRONG)],
        [("lost", FULL), ("lost", FULL)],
    ],
    ids=lambda script: "-".join(f"{what} {type(error).__name__}" for what, error in script),
)
async def test_whatever_becomes_of_its_acknowledgement_an_append_is_stored_once(
    connection: NatsConnection, subjects: Subjects, script: list[tuple[str, Exception]]
) -> None:
    log, faulty = faulty_log(connection, subjects, *script)
    sound = NatsLog(connection, subjects)
    first = await sound.append(ROOM, b"one", 0)
    second = await log.append(ROOM, b"two", first)
    assert faulty.asked > 0
    assert await stored(sound) == [b"one", b"two"]
    assert await sound.last(ROOM) == Record(ROOM, second, b"two")


async def test_an_append_that_landed_counts_though_another_came_after_it(
    connection: NatsConnection, subjects: Subjects
) -> None:
    log = NatsLog(connection, subjects)
    first = await log.append(ROOM, b"one", 0)
    second = await log.append(ROOM, b"mine", first)
    await log.append(ROOM, b"new owner", second)
    assert await log._landed(ROOM, b"mine", first) == second
    with pytest.raises(Conflict):
        await log._landed(ROOM, b"other", first)


async def test_appends_survive_a_connection_that_is_cut_again_and_again(
    frail_server: NatsServer, subjects: Subjects
) -> None:
    async with await opened(frail_server, "test", lean=True) as connection:
        await prepare(connection, subjects)
        log = NatsLog(connection, subjects)
        rooms = [f"room-{n}" for n in range(20)]
        cutting = asyncio.create_task(cut(connection, times=10))

        async def write(room: str) -> int:
            position = count = 0
            while not cutting.done():
                position = await log.append(room, b"%d" % count, position)
                count += 1
            return count

        counts = await asyncio.gather(*(write(room) for room in rooms))
        await cutting
        for room, count in zip(rooms, counts, strict=True):
            found = [record.data for record in await log.read(room, 0, 10_000)]
            assert found == [b"%d" % n for n in range(count)]


async def cut(connection: NatsConnection, times: int) -> None:
    """Break the socket under a working connection, and wait until it is back."""
    for _ in range(times):
        await asyncio.sleep(0.05)  # some appends are under way
        connection._client.abort()
        await until(lambda: not connection.connected)
        await until(lambda: connection.connected)


@pytest.mark.parametrize("answer", [b"", b"?", b"[1]", b'{"seq":"1"}', b'{"seq":0}', b"{}"])
async def test_an_attempt_is_told_nothing_by_an_answer_that_is_no_acknowledgement(
    connection: NatsConnection, subjects: Subjects, answer: bytes
) -> None:
    told: list[int | None] = []
    NatsLog(Odd(answer), subjects).attempt(ROOM, b"one", 0, told.append)  # type: ignore[arg-type]
    assert told == [None]


class Odd:
    """A connection to something that answers like no broker."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def ask(
        self, subject: bytes, payload: bytes, header: bytes | None, timeout_s: float, told: Told
    ) -> None:
        told((None, self._answer))


async def test_an_attempt_while_the_broker_is_away_is_told_at_once_and_sends_nothing(
    frail_server: NatsServer, connection: NatsConnection, subjects: Subjects
) -> None:
    log = NatsLog(connection, subjects)
    told: list[int | None] = []
    frail_server.kill()
    await until(lambda: not connection.connected)
    log.attempt(ROOM, b"one", 0, told.append)
    assert told == [None]
    frail_server.start()
    assert await log.last(ROOM) is None


async def test_an_attempt_under_way_is_told_of_when_the_broker_dies(
    frail_server: NatsServer, connection: NatsConnection, subjects: Subjects
) -> None:
    log = NatsLog(connection, subjects)
    told: list[int | None] = []
    frail_server.pause()
    log.attempt(ROOM, b"one", 0, told.append)
    await asyncio.sleep(0)
    assert told == []
    frail_server.kill()
    await until(lambda: told == [None])


async def test_an_attempt_at_what_is_larger_than_a_message_is_told_nothing(
    connection: NatsConnection, subjects: Subjects
) -> None:
    told: list[int | None] = []
    NatsLog(connection, subjects).attempt(ROOM, bytes(2**20), 0, told.append)
    assert told == [None]
    assert connection.connected


async def test_a_record_larger_than_a_message_is_refused(
    connection: NatsConnection, subjects: Subjects
) -> None:
    log = NatsLog(connection, subjects)
    with pytest.raises(ValueError, match="more than the broker's"):
        await log.append(ROOM, bytes(2**20), 0)
    assert connection.connected


# -- reading ---------------------------------------------------------------------------------------


async def test_reads_of_a_broker_that_is_away_are_unavailable(
    frail_server: NatsServer,
    connection: NatsConnection,
    subjects: Subjects,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nats_stored, "PATIENCE_S", 0.1)
    log, archive = NatsLog(connection, subjects), NatsArchive(connection, subjects)
    directory = NatsDirectory(connection, subjects)
    frail_server.kill()
    outcomes = await asyncio.gather(
        log.last(ROOM), log.read(ROOM, 0, 1), log.rooms(0), archive.load(ROOM, "snap"),
        archive.discard(ROOM, "snap"), directory.items(), directory.put("a", b"", 0),
        directory.delete("a", 1), return_exceptions=True,
    )  # fmt: skip
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 8


async def test_reads_wait_for_a_broker_that_is_away_for_a_moment(
    frail_server: NatsServer, connection: NatsConnection, subjects: Subjects
) -> None:
    log = NatsLog(connection, subjects)
    await log.append(ROOM, b"one", 0)
    frail_server.kill()
    reading = asyncio.create_task(log.read(ROOM, 0, 5))
    await asyncio.wait([reading], timeout=0.1)
    frail_server.start()
    assert [record.data for record in await reading] == [b"one"]


def _have_noticed(losses: Sequence[int], connections: Sequence[NatsConnection]) -> bool:
    return all(one.losses > before for before, one in zip(losses, connections, strict=True))


async def test_followers_and_watchers_live_on_after_restarts(
    frail_server: NatsServer,
    connection: NatsConnection,
    witness: NatsConnection,
    subjects: Subjects,
) -> None:
    records: list[bytes] = []
    items: list[Item] = []
    log, directory = NatsLog(witness, subjects), NatsDirectory(witness, subjects)
    await NatsLog(connection, subjects).follow(ROOM, lambda record: records.append(record.data))
    await NatsDirectory(connection, subjects).watch(items.append)
    position = revision = 0
    for n in range(3):
        before = [connection.losses, witness.losses]
        frail_server.restart()
        # Both: who has not noticed yet would miss what is announced.
        await until(partial(_have_noticed, before, [connection, witness]))
        await until(lambda: connection.connected and witness.connected)
        position = await log.append(ROOM, b"%d" % n, position)
        revision = await directory.put("table", b"%d" % n, revision)
    await until(lambda: len(records) == len(items) == 3)
    assert records == [b"0", b"1", b"2"]
    assert [item.value for item in items] == [b"0", b"1", b"2"]
