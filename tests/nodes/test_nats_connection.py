"""Connections to a real nats-server: opened, refused, asked, closed."""

import asyncio
import socket

import pytest
import uvloop
from tests.support.nats_server import NatsServer
from tests.support.twins import Echo, opened, until

from roomful_nodes import nats_connection
from roomful_nodes.nats_connection import BrokerError, NatsConnection
from roomful_nodes.nats_requests import NoAnswer

pytest_plugins = ["tests.support.nats_server"]

LEAN = pytest.mark.parametrize("lean", [True, False], ids=["lean", "plain"])


@LEAN
async def test_a_connection_tells_where_it_is(nats_server: NatsServer, lean: bool) -> None:
    async with await opened(nats_server, "test", lean) as connection:
        assert connection.connected
        assert connection.url == nats_server.url
        assert connection.server_version >= (2, 12)
        assert connection.single is lean
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
        payload = bytes(2**20)
        connection.publish(b"conn.large", payload)
        with pytest.raises(ValueError, match="more than the broker's"):
            connection.publish(b"conn.large", payload, b"NATS/1.0\r\n\r\n")
        with pytest.raises(ValueError, match="more than the broker's"):
            await connection.request(b"conn.large", payload + b"x")
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
def test_closing_while_the_broker_is_away(frail_server: NatsServer, lean: bool) -> None:
    async def close() -> None:
        async with await opened(frail_server, "test", lean) as connection:
            frail_server.kill()
            await until(lambda: not connection.connected)
            connection.publish(b"conn.lost", b"never to be heard")

    # On this loop, as nodes run on it: a socket that was lost raises if it is written to.
    uvloop.run(close())


@LEAN
async def test_a_closed_connection_answers_nobody(nats_server: NatsServer, lean: bool) -> None:
    connection = await opened(nats_server, "test", lean)
    await connection.close()
    with pytest.raises(NoAnswer):
        await connection.request(b"conn.echo", b"", timeout_s=0.2)


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
