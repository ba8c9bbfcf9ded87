"""Connections to a real nats-server: opened, refused, lost, found again, closed."""

import asyncio
import socket
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict
from tests.support.nats_server import NatsServer
from tests.support.twins import opened, until

from roomful_nodes import nats_connection, nats_resilient
from roomful_nodes.nats_client import AWAY_BYTES, LeanClient
from roomful_nodes.nats_connection import BrokerError, NatsConnection, without_credentials
from roomful_nodes.nats_plain import PlainClient
from roomful_nodes.nats_requests import NoAnswer
from roomful_nodes.nats_resilient import fits

pytest_plugins = ["tests.support.nats_server"]

LEAN = pytest.mark.parametrize("lean", [True, False], ids=["lean", "plain"])


def events(logs: list[EventDict]) -> list[str]:
    return [entry["event"] for entry in logs]


class Echo:
    """Answers what is asked on `subject`, and counts it."""

    def __init__(self, connection: NatsConnection, subject: str) -> None:
        self.connection = connection
        self.subject = subject
        self.heard: list[bytes] = []

    async def start(self) -> None:
        await self.connection.listen(self.subject, self._hear)

    def _hear(self, _: bytes, reply: bytes | None, __: bytes | None, payload: bytes) -> None:
        self.heard.append(payload)
        if reply is not None:
            self.connection.publish(reply, payload)


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


@LEAN
async def test_a_connection_tells_where_it_is(nats_server: NatsServer, lean: bool) -> None:
    async with await opened(nats_server, "test", lean) as connection:
        assert connection.connected
        assert connection.url == nats_server.url
        assert connection.server_version >= (2, 12)
        assert connection.max_payload == 2**20
    assert not connection.connected


@LEAN
async def test_nobody_there_is_told_in_one_sentence(lean: bool) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"nats://user:secret@127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(BrokerError) as refused:
            await NatsConnection.open(url, name="test", timeout_s=0.3, lean=lean)
    assert str(refused.value).startswith("No NATS broker at nats://127.0.0.1:")
    assert "secret" not in str(refused.value)


@LEAN
async def test_a_wrong_token_is_told_at_once(nats_server: NatsServer, lean: bool) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(BrokerError, match="Authorization"):
            await NatsConnection.open(nats_server.url, name="test", token="wrong", lean=lean)


async def test_a_server_that_does_not_speak_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"nats://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(BrokerError):
            await NatsConnection.open(url, name="test", timeout_s=0.3)


@pytest.mark.parametrize("url", ["nats://", "nats://h:notaport", "", "http://h:1"])
async def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BrokerError, match="is no address of a NATS broker"):
        await NatsConnection.open(url, name="test")


@LEAN
async def test_a_request_is_answered(nats_server: NatsServer, lean: bool) -> None:
    async with (
        await opened(nats_server, "asks", lean) as asks,
        await opened(nats_server, "answers", lean) as answers,
    ):
        await Echo(answers, "conn.echo").start()
        answered = await asyncio.gather(
            *(asks.request(b"conn.echo", b"%d" % n) for n in range(200))
        )
    assert [payload for _, payload in answered] == [b"%d" % n for n in range(200)]


@LEAN
async def test_what_the_broker_would_choke_on_is_refused(
    nats_server: NatsServer, lean: bool
) -> None:
    async with await opened(nats_server, "test", lean) as connection:
        payload = bytes(connection.max_payload)
        connection.publish(b"conn.large", payload)
        with pytest.raises(ValueError, match="more than the broker's"):
            connection.publish(b"conn.large", payload, b"NATS/1.0\r\n\r\n")
        with pytest.raises(ValueError, match="more than the broker's"):
            await connection.request(b"conn.large", payload + b"x")
        assert connection.connected


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
        await connection_waits(asking)
        frail_server.start()
        with pytest.raises(NoAnswer):
            await asking
        await other.close()


async def connection_waits(task: "asyncio.Task[object]") -> None:
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
        await connection_waits(starting)
        frail_server.start()
        await starting
        async with await opened(frail_server, "other") as other:
            assert (await other.request(b"conn.echo", b"hi"))[1] == b"hi"
        assert echo.heard == [b"hi"]


async def test_a_broker_that_hangs_is_given_up_and_found_again(
    frail_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the socket is full: nats-py itself would wait until the broker took the rest."""
    monkeypatch.setattr(nats_connection, "PING_S", 0.1)
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


async def test_closing_does_not_wait_for_a_broker_that_hangs(
    frail_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_connection, "CLOSE_S", 0.2)
    connection = await opened(frail_server, "test")
    frail_server.pause()
    for _ in range(100):
        connection.publish(b"conn.nobody", bytes(100_000))
    async with asyncio.timeout(5):
        await connection.close()
    assert not connection.connected


@LEAN
async def test_closing_sends_what_is_pending(nats_server: NatsServer, lean: bool) -> None:
    async with await opened(nats_server, "hears", lean) as hears:
        heard: list[bytes] = []
        await hears.listen("conn.last", lambda *message: heard.append(message[3]))
        says = await opened(nats_server, "says", lean)
        for n in range(1000):
            says.publish(b"conn.last", b"%d" % n)
        await says.close()
        await says.close()
        await until(lambda: len(heard) == 1000)
    assert heard == [b"%d" % n for n in range(1000)]


@LEAN
async def test_a_closed_connection_answers_nobody(nats_server: NatsServer, lean: bool) -> None:
    connection = await opened(nats_server, "test", lean)
    await connection.close()
    with pytest.raises(NoAnswer):
        await connection.request(b"conn.echo", b"", timeout_s=0.2)


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


async def test_a_plain_connection_that_is_closed_for_good_tells(nats_server: NatsServer) -> None:
    told: list[bool] = []
    connection = await NatsConnection.open(
        nats_server.url, name="test", token=nats_server.token, lean=False,
        closed=lambda: told.append(True),
    )  # fmt: skip
    await connection._client.close()
    assert told == [True]
    await connection.close()
    assert told == [True]


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


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://user:pass@host:4222", "nats://host:4222"),
        ("tls://token@host", "tls://host"),
        ("nats://127.0.0.1:1?x=y", "nats://127.0.0.1:1"),
    ],
)
def test_credentials_are_not_shown(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
