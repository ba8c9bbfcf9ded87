"""The client under a connection, on a real nats-server that is killed, paused and restarted."""

import asyncio
import socket
from contextlib import suppress
from types import SimpleNamespace

import pytest
import uvloop
from nats import errors
from structlog.testing import capture_logs
from structlog.typing import EventDict
from tests.support.nats_server import NatsServer
from tests.support.twins import Echo, opened, until

from roomful_nodes import nats_connection, nats_resilient
from roomful_nodes.nats_client import AWAY_BYTES, LeanClient
from roomful_nodes.nats_plain import PlainClient
from roomful_nodes.nats_requests import NoAnswer
from roomful_nodes.nats_resilient import fits

pytest_plugins = ["tests.support.nats_server"]

LEAN = pytest.mark.parametrize("lean", [True, False], ids=["lean", "plain"])


def events(logs: list[EventDict]) -> list[str]:
    return [entry["event"] for entry in logs]


async def test_the_lean_client_fits_the_pinned_version() -> None:
    assert fits()


async def test_another_version_gets_the_plain_client(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_resilient, "version", lambda _: "2.17.0")
    assert not fits()
    async with await opened(nats_server, "test") as connection:
        assert isinstance(connection._client, PlainClient)


async def test_a_missing_private_name_gets_the_plain_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nats_resilient, "Client", lambda: SimpleNamespace())
    assert not fits()


@pytest.mark.parametrize(
    ("said", "single"),
    [
        ({"jetstream": True}, True),
        # A leaf of another server names a cluster of its own; streams may be at the other one.
        ({"jetstream": True, "cluster": "leaf"}, False),
        ({}, False),
    ],
)
async def test_a_broker_is_one_server_if_it_says_so(said: dict[str, object], single: bool) -> None:
    client = LeanClient()
    client._server_info = said
    assert client.single is single


@LEAN
async def test_subscriptions_and_requests_work_again_after_a_restart(
    frail_server: NatsServer, lean: bool
) -> None:
    with capture_logs() as logs:
        async with (
            await opened(frail_server, "asks", lean) as asks,
            await opened(frail_server, "answers", lean) as answers,
        ):
            echoes = [Echo(answers, f"conn.echo.{n}") for n in range(50)]
            await asyncio.gather(*(echo.start() for echo in echoes))
            for _ in range(3):
                frail_server.restart()
                await until(lambda: not asks.connected or not answers.connected)
                await until(lambda: asks.connected and answers.connected)
                for echo in echoes:
                    answered = await asks.request(echo.subject.encode(), b"again")
                    assert answered[1] == b"again"
    assert [len(echo.heard) for echo in echoes] == [3] * 50
    assert events(logs).count("nats.disconnected") == 6
    assert events(logs).count("nats.reconnected") == 6
    assert "nats.listener_failed" not in events(logs)
    assert all(frail_server.token not in str(entry) for entry in logs)


@LEAN
async def test_a_request_in_flight_fails_when_the_broker_dies(
    frail_server: NatsServer, lean: bool
) -> None:
    async with await opened(frail_server, "test", lean) as connection:
        await connection.listen("conn.silent", lambda *_: None)
        other = await opened(frail_server, "other", lean)
        asking = asyncio.create_task(other.request(b"conn.silent", b"", timeout_s=60))
        await asyncio.sleep(0.05)  # it is under way; nobody tells when
        frail_server.kill()
        async with asyncio.timeout(5):
            with pytest.raises(NoAnswer, match="lost"):
                await asking
        await other.close()


async def test_while_the_broker_is_away_requests_wait_for_it_but_not_for_ever(
    frail_server: NatsServer,
) -> None:
    async with await opened(frail_server, "test") as connection:
        await Echo(other := await opened(frail_server, "other"), "conn.echo").start()
        frail_server.kill()
        await until(lambda: not connection.connected)
        with pytest.raises(NoAnswer, match="away"):
            await connection.request(b"conn.echo", b"", timeout_s=0.1)
        asking = asyncio.create_task(connection.request(b"conn.late", b"", timeout_s=30))
        await still_waiting(asking)
        frail_server.start()
        with pytest.raises(NoAnswer):
            await asking
        await other.close()


async def still_waiting(task: "asyncio.Task[object]") -> None:
    done, _ = await asyncio.wait([task], timeout=0.1)
    assert not done


async def test_what_is_published_while_away_is_bounded_and_sent_later(
    frail_server: NatsServer,
) -> None:
    with capture_logs() as logs:
        async with (
            await opened(frail_server, "says") as says,
            await opened(frail_server, "hears") as hears,
        ):
            heard: list[bytes] = []
            await hears.listen("conn.later", lambda *message: heard.append(message[3]))
            frail_server.kill()
            await until(lambda: not says.connected and not hears.connected)
            for n in range(40):
                says.publish(b"conn.later", b"%02d" % n + bytes(100_000))
            assert says._client._pending_data_size <= AWAY_BYTES
            frail_server.start()
            await until(lambda: says.connected and hears.connected)
            says.publish(b"conn.later", b"now")
            await until(lambda: b"now" in heard)
    # `hears` may have been back later than `says`; what it has heard is in order.
    numbers = [int(one[:2]) for one in heard[:-1]]
    assert numbers == sorted(numbers)
    assert len(numbers) <= 20
    assert events(logs).count("nats.dropping") == 1


async def test_listening_while_the_broker_is_away_begins_when_it_is_back(
    frail_server: NatsServer,
) -> None:
    async with await opened(frail_server, "test") as connection:
        frail_server.kill()
        await until(lambda: not connection.connected)
        echo = Echo(connection, "conn.echo")
        starting = asyncio.create_task(echo.start())
        await still_waiting(starting)
        frail_server.start()
        await starting
        async with await opened(frail_server, "other") as other:
            assert (await other.request(b"conn.echo", b"hi"))[1] == b"hi"
        assert echo.heard == [b"hi"]


async def test_a_broker_that_hangs_is_given_up_and_found_again(
    frail_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the socket is full: nats-py itself would wait until the broker took the rest."""
    monkeypatch.setattr(nats_connection, "PING_S", 0.3)
    async with await opened(frail_server, "test") as connection:
        echo = Echo(connection, "conn.echo")
        await echo.start()
        frail_server.pause()
        for _ in range(100):
            connection.publish(b"conn.nobody", bytes(100_000))
        await until(lambda: not connection.connected)
        frail_server.resume()
        await until(lambda: connection.connected)
        async with await opened(frail_server, "other") as other:
            assert (await other.request(b"conn.echo", b"hi"))[1] == b"hi"


async def test_what_waits_for_a_slow_broker_is_bounded(frail_server: NatsServer) -> None:
    with capture_logs() as logs:
        async with await opened(frail_server, "test") as connection:
            frail_server.pause()
            for _ in range(600):
                connection.publish(b"conn.nobody", bytes(100_000))
                await asyncio.sleep(0)
            assert events(logs).count("nats.dropping") == 1
            frail_server.resume()
            await Echo(connection, "conn.echo").start()
            assert connection.connected


async def test_an_error_of_the_broker_does_not_close_the_connection_for_good(
    nats_server: NatsServer,
) -> None:
    """nats-py would: the payload here is larger than the broker allows."""
    async with await opened(nats_server, "test") as connection:
        await Echo(connection, "conn.echo").start()
        connection._client.post(b"conn.x", bytes(2**20 + 1), None, b"")
        await until(lambda: not connection.connected)
        await until(lambda: connection.connected)
        async with await opened(nats_server, "other") as other:
            assert (await other.request(b"conn.echo", b"hi"))[1] == b"hi"


async def test_who_stops_waiting_for_the_broker_does_not_hurt_the_others(
    nats_server: NatsServer,
) -> None:
    async with await opened(nats_server, "test") as connection:
        client = connection._client
        assert isinstance(client, LeanClient)
        for _ in range(20):
            impatient = asyncio.create_task(client.settled())
            await asyncio.sleep(0)
            patient = asyncio.create_task(client.settled())
            await asyncio.sleep(0)
            impatient.cancel()
            await patient
        assert connection.connected


class Socket:
    """What is written to it is kept."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.failure: Exception | None = None

    def write(self, data: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        self.written.append(data)

    def get_write_buffer_size(self) -> int:
        return 0


async def test_commands_leave_at_once_as_long_as_they_come_singly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, out = LeanClient(), Socket()
    monkeypatch.setattr(client, "_socket", lambda: out)

    def say(*words: bytes) -> list[int]:
        for word in words:
            assert client.post(b"a", word, None, b"")
        return [data.count(b"PUB") for data in out.written]

    assert say(b"1") == [1]
    await asyncio.sleep(0)
    assert say(b"2", b"3", b"4") == [1, 1], "the others may not be the last of this turn"
    await asyncio.sleep(0)
    assert say() == [1, 1, 2]
    assert say(b"5") == [1, 1, 2], "several came in the turn before"
    await asyncio.sleep(0)
    assert say() == [1, 1, 2, 1]
    assert say(b"6") == [1, 1, 2, 1, 1]


@pytest.mark.parametrize("failure", [OSError("a broken pipe"), RuntimeError("it is closed")])
async def test_a_socket_that_dies_while_it_is_written_to_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    client, out, another = LeanClient(), Socket(), Socket()
    out.failure = failure
    monkeypatch.setattr(client, "_socket", lambda: out)
    assert client.post(b"a", b"1", None, b"")
    monkeypatch.setattr(client, "_socket", lambda: another)
    assert client.post(b"a", b"2", None, b"")
    await asyncio.sleep(0)
    assert another.written == [b"PUB a  1\r\n2\r\n"]


async def test_a_message_is_heard_in_the_turn_in_which_it_arrives() -> None:
    client, reader, heard = LeanClient(), asyncio.StreamReader(), list[bytes]()
    client._heard[b"1"] = lambda _subject, _reply, _header, payload: heard.append(payload)
    reader.feed_data(b"MSG a 1 1\r\na\r\nMSG a 1 2\r\nb")
    client._feed.tap(reader)
    assert heard == [b"a"]
    reader.feed_data(b"c\r\nPING\r\nMSG a 1 1\r\nd\r\n")
    assert heard == [b"a", b"bc", b"d"]
    assert client._pending == []
    await client._feed.parse(await reader.read(100))
    assert client._pending == [b"PONG\r\n"]


async def test_a_reader_of_before_is_heard_no_more() -> None:
    client, old, new, heard = LeanClient(), asyncio.StreamReader(), asyncio.StreamReader(), []
    client._heard[b"1"] = lambda _subject, _reply, _header, payload: heard.append(payload)
    client._feed.tap(old)
    old.feed_data(b"MSG a 1 4\r\nha")
    client._feed.reset()
    old.feed_data(b"ha\r\n")
    client._feed.tap(new)
    old.feed_data(b"MSG a 1 1\r\na\r\n")
    new.feed_data(b"MSG a 1 1\r\nb\r\n")
    assert heard == [b"b"]


async def test_what_is_no_protocol_ends_the_reading() -> None:
    client, reader = LeanClient(), asyncio.StreamReader()
    client._feed.tap(reader)
    reader.feed_data(b"MSG a\r\n")
    reader.feed_data(b"PING\r\n")
    with pytest.raises(errors.ProtocolError):
        await client._feed.parse(await reader.read(100))
    assert client._pending == []


def test_others_have_their_turns_while_much_is_read() -> None:
    """On uvloop, which reads on while there is something, unless it is told not to."""
    message, turns = b"MSG a 1 1000\r\n%b\r\n" % bytes(1000), [0]

    def heard(*_: object) -> None:
        turns[-1] += 1

    async def run() -> int:
        client = LeanClient()
        client._heard[b"1"] = heard
        with socket.create_server(("127.0.0.1", 0)) as server:
            reader, writer = await asyncio.open_connection(*server.getsockname())
            client._transport = SimpleNamespace(_io_writer=writer)  # type: ignore[assignment]
            client._feed.tap(reader)
            broker, _ = server.accept()
        with broker:
            broker.setblocking(False)
            sent = 0
            with suppress(BlockingIOError):
                while True:
                    sent += broker.send(message * 1000)
            async with asyncio.timeout(10):
                while sum(turns) < sent // len(message):
                    turns.append(0)
                    await asyncio.sleep(0)
            writer.close()
            return sent

    sent = uvloop.run(run())
    assert sent > 2**21
    assert max(turns) * len(message) < 2**19
