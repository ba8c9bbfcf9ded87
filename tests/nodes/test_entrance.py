"""Sockets that come in, or do not."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from tests.support.cluster import until
from tests.support.nodes import MemoryCluster, MemoryNode
from tests.support.raw import RawClient, handshake, masked

from roomful_nodes import websocket as websocket_module
from roomful_nodes.admission import Admission

PING = masked(b'{"type":"ping","id":1}')


@pytest.fixture
async def node() -> AsyncIterator[MemoryNode]:
    async with MemoryCluster().node() as made:
        yield made


async def talks(client: RawClient) -> None:
    """It has been let in, is heard, and closes in good order."""
    assert b" 101 " in await client.head()
    assert (await client.message())["type"] == "hello"
    client.send(PING)
    assert (await client.message())["type"] == "pong"
    client.send(masked((1000).to_bytes(2, "big"), opcode=8))
    assert await client.rest() == [(8, (1000).to_bytes(2, "big"))]
    await client.close()


@pytest.mark.parametrize("cut", [3, 20, len(handshake()) - 1])
async def test_a_request_may_come_in_pieces(node: MemoryNode, cut: int) -> None:
    client = await RawClient.connect(node.url)
    client.send(handshake()[:cut])
    await served(node.url)
    client.send(handshake()[cut:])
    await talks(client)
    await until(lambda: not len(node.gateway), "it is gone")


async def test_who_has_gone_while_the_node_was_asleep_takes_no_session(node: MemoryNode) -> None:
    ann = await RawClient.open(node.url, "?user=ann")
    hello = (await ann.message())["data"]
    parts = urlsplit(node.url)
    # The loop does not run meanwhile: request and end are there when it looks.
    with socket.create_connection((parts.hostname, parts.port)) as gone:
        gone.sendall(handshake(f"?session={hello['session']}&secret={hello['secret']}&user=ann"))
    await served(node.url)
    ann.send(PING)
    assert (await ann.message())["type"] == "pong"
    session = node.gateway.sessions.get(hello["session"])
    assert session is not None
    assert session.connection == 1
    await ann.close()


async def test_a_query_that_is_no_text_is_answered_on_the_open_socket(node: MemoryNode) -> None:
    for query in (b"?session=x&secret=ann.1.\xff", b"?session=\xff&secret=x", b"?token=\xff"):
        client = await RawClient.connect(node.url)
        client.send(handshake().replace(b"/ws", b"/ws" + query, 1))
        # aiohttp's parser in C refuses it; that in Python passes it on.
        if b" 400 " not in (head := await client.head()):
            assert b" 101 " in head
            told = [(await client.message())["type"] for _ in range(2)]
            assert told in (["hello", "error"], ["error", "bye"])
        await client.close()
    await until(lambda: not len(node.gateway), "they are gone")


async def test_a_socket_that_cannot_be_begun_is_cut(
    node: MemoryNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    whole, pieces = [await RawClient.connect(node.url) for _ in range(2)]
    pieces.send(handshake()[:20])
    await served(node.url)
    monkeypatch.setattr(node.gateway, "begin", broken)
    whole.send(handshake())
    pieces.send(handshake()[20:])
    for client in (whole, pieces):
        await client.head()
        assert await client.rest() == []
        await client.close()


async def test_a_request_may_come_behind_another(node: MemoryNode) -> None:
    client = await RawClient.connect(node.url)
    client.send(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b" 200 " in await client.head()
    client.send(handshake())
    await talks(client)


async def test_what_comes_behind_a_request_in_pieces_is_heard(node: MemoryNode) -> None:
    client = await RawClient.connect(node.url)
    client.send(handshake()[:20])
    await served(node.url)
    client.send(handshake()[20:] + PING * 2)
    assert b" 101 " in await client.head()
    told = [(await client.message())["type"] for _ in range(3)]
    assert told == ["hello", "pong", "pong"]
    await client.close()


async def test_who_waits_for_a_turn_comes_in_as_others_do() -> None:
    async with MemoryCluster().node(limit_connects_per_s=20) as node:
        crowd = [await RawClient.connect(node.url) for _ in range(8)]
        for client in crowd:
            client.send(handshake())
        for client in crowd:
            await talks(client)


async def test_those_who_have_gone_take_nobodys_turn() -> None:
    async with MemoryCluster().node(limit_connects_per_s=1) as node:
        await served(node.url)
        crowd = [await RawClient.connect(node.url) for _ in range(4)]
        for client in crowd:
            client.send(handshake())
        waiting = node.node.metrics.arrivals._value
        await until(lambda: waiting.get() == 4, "they wait")
        late = await RawClient.connect(node.url)
        late.send(handshake())
        await until(lambda: waiting.get() == 5, "so does another")
        for client in crowd:
            client.abort()
        # The first turn of a second is the one of the last who is still there.
        assert b" 101 " in await late.head(within_s=2.5)
        await late.close()


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (handshake().replace(b"Upgrade: websocket\r\n", b""), b" 400 "),
        (handshake().replace(b"Connection: Upgrade\r\n", b""), b" 400 "),
        (handshake().replace(b"Version: 13", b"Version: 99"), b" 400 "),
        (handshake().replace(b"AAAA==", b""), b" 400 "),
        (handshake().replace(b"AAAA==", b"!"), b" 400 "),
        (handshake().replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: x\r\n\r\n"), b" 400 "),
        (handshake().replace(b"\r\n\r\n", b"\r\nOrigin: http://evil\r\n\r\n"), b" 403 "),
        (handshake().replace(b"/ws", b"/wsx"), b" 404 "),
        (handshake().replace(b"GET", b"POST"), b" 405 "),
        (handshake().replace(b"HTTP/1.1", b"HTTP/9"), b" 400 "),
    ],
)
@pytest.mark.parametrize("cut", [0, 20])
async def test_what_is_no_request_for_a_websocket_is_refused(
    node: MemoryNode, wrong: bytes, status: bytes, cut: int
) -> None:
    client = await RawClient.connect(node.url)
    client.send(wrong[:cut])
    await served(node.url)
    client.send(wrong[cut:])
    assert status in await client.head()
    await client.close()
    assert not len(node.gateway)


async def test_a_node_that_stops_leaves_no_connection_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(websocket_module, "CLOSE_S", 0.1)
    async with MemoryCluster().node() as node:
        silent = await RawClient.connect(node.url)
        halfway = await RawClient.connect(node.url)
        halfway.send(handshake()[:20])
        inside = await RawClient.open(node.url)
        assert (await inside.message())["type"] == "hello"
    assert await silent.head() == await halfway.head() == b""
    frames = await inside.rest()
    assert [opcode for opcode, _ in frames] == [1, 8]
    for client in (silent, halfway, inside):
        await client.close()


@pytest.mark.parametrize(
    ("field", "body"),
    [
        (b"Content-Length: 5", b"hello"),
        (b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("together", [True, False])
async def test_a_request_with_a_body_is_refused(
    node: MemoryNode, field: bytes, body: bytes, together: bool, caplog: pytest.LogCaptureFixture
) -> None:
    head = handshake().replace(b"\r\n\r\n", b"\r\n" + field + b"\r\n\r\n")
    client = await RawClient.connect(node.url)
    client.send(head + body if together else head)
    assert b" 400 " in await client.head()
    if not together:
        client.send(body)
    await client.close()
    assert not len(node.gateway)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def served(url: str) -> None:
    """Come in and go: by then the node has noticed what happened before."""
    client = await RawClient.open(url)
    assert (await client.message())["type"] == "hello"
    await client.close()


async def test_a_client_that_has_gone_before_its_turn_is_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waiting, turn, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def late(_: Admission) -> None:
        if waiting.is_set():
            return
        waiting.set()
        await turn.wait()
        over.set()

    async with MemoryCluster().node() as node:
        monkeypatch.setattr(Admission, "at_once", lambda _: False)
        monkeypatch.setattr(Admission, "turn", late)
        parts = urlsplit(node.url)
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(
            f"GET /ws HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        async with asyncio.timeout(10):
            await waiting.wait()
            writer.transport.abort()
            await served(node.url)
            turn.set()
            await over.wait()
            await served(node.url)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
