"""Sockets to the byte: pushed messages, broken frames, silent peers, and nothing left behind."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, cast

import pytest
import uvloop
from aiohttp.web import Request
from structlog.testing import capture_logs
from tests.support.cluster import until
from tests.support.nodes import MemoryCluster, MemoryNode
from tests.support.raw import RawClient, masked
from tests.support.sockets import FakeTransport
from tests.support.virtual_time import virtual
from tests.support.wire import Wire

from roomful_nodes.conversation import Conversation
from roomful_nodes.entrance import Entrance
from roomful_nodes.gateway import Gateway
from roomful_nodes.websocket import Pace, WebSocket
from roomful_protocol.codecs import JSON
from roomful_protocol.frames import Limits


@pytest.fixture
async def node() -> AsyncIterator[MemoryNode]:
    async with MemoryCluster().node() as made:
        yield made


def closing(frames: list[tuple[int, bytes]]) -> tuple[str, int]:
    """What the `bye` said and the code of the Close after it: they must be the last two frames."""
    (text, bye), (close, code) = frames[-2:]
    assert (text, close) == (1, 8)
    return json.loads(bye)["data"]["code"], int.from_bytes(code[:2], "big")


@virtual
async def test_who_writes_faster_than_all_its_messages_would_is_read_no_faster() -> None:
    transport = FakeTransport()
    pace = Pace(Limits(message_bytes=1000, messages_per_s=10, burst=5))
    socket = WebSocket(
        cast("asyncio.Transport", transport), JSON, pace, over=lambda _: None, left=lambda _: None
    )
    piece = masked(bytes(86))
    for _ in range(2):
        # After a long silence no more than a burst comes at once.
        await asyncio.sleep(60)
        read = 0
        while transport.reading and read < 10_000:
            socket.data_received(piece)
            read += len(piece)
        assert 5 * 1014 < read <= 5 * 1014 + len(piece)
        await asyncio.sleep(len(piece) / 10_140)
        assert transport.reading


async def test_what_comes_with_the_handshake_is_heard(node: MemoryNode) -> None:
    client = await RawClient.open(node.url, early=masked(b'{"type":"ping","id":1}'))
    assert (await client.message())["type"] == "hello"
    assert await client.message() == {
        "type": "pong", "id": 1, "data": {"time": pytest.approx(1.8e12, rel=0.2)},
    }  # fmt: skip
    await client.close()


async def test_fragments_and_pings_between_them_are_one_message(node: MemoryNode) -> None:
    client = await RawClient.open(node.url)
    client.send(masked(b'{"type":', first=0) + masked(b"life?", opcode=9))
    client.send(masked(b'"ping","id":2}', opcode=0))
    assert (await client.message())["type"] == "hello"
    assert sorted([await client.frame(), await client.frame()])[1] == (10, b"life?")
    await client.close()


async def test_a_message_of_exactly_the_limit_is_taken() -> None:
    async with MemoryCluster().node(limits=Limits(message_bytes=1000)) as node:
        client = await RawClient.open(node.url)
        await client.message()
        ping = b'{"type":"ping","id":3,"pad":"%b"}'
        pad = b"x" * (1000 - len(ping) + 2)
        client.send(masked(ping % pad))
        assert (await client.message())["id"] == 3
        client.send(masked(ping % (pad + b"x")))
        assert closing(await client.rest()) == ("too_big", 1009)
        await client.close()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_who_sends_far_too_much_can_still_read_why(loop: str) -> None:
    async def run() -> None:
        async with MemoryCluster().node() as node:
            client = await RawClient.open(node.url)
            # More than all buffers on the way hold: a hasty close would reset the connection.
            client.send(masked(b"x" * 20_000_000))
            assert closing(await client.rest()) == ("too_big", 1009)
            await client.close()

    _run(loop, run)


async def test_a_broken_frame_is_told_and_closes(node: MemoryNode) -> None:
    for broken in (masked(b"x", first=0xC0), masked(b"x", opcode=3), masked(b"x", opcode=0)):
        client = await RawClient.open(node.url)
        await client.message()
        client.send(broken)
        assert closing(await client.rest()) == ("violation", 4503)
        await client.close()


async def test_a_close_is_answered_and_nothing_follows_it(node: MemoryNode) -> None:
    client = await RawClient.open(node.url, "?room=lobby&user=ann")
    other = await Wire.open(node.url, room="lobby", user="bob")
    await client.message()
    client.send(masked((1000).to_bytes(2, "big"), opcode=8))
    for number in range(20):
        await other.say("lobby", str(number))
    frames = await client.rest()
    assert [opcode for opcode, _ in frames].index(8) == len(frames) - 1
    await client.close()
    await other.close()


@pytest.mark.parametrize("way", ["client", "node", "nobody"])
async def test_a_bug_at_the_end_of_a_session_leaves_no_socket(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = Gateway.end

    def broken(gateway: Gateway, conversation: Conversation) -> None:
        end(gateway, conversation)
        raise RuntimeError("a bug")

    left: list[WebSocket] = []
    leave = Entrance._leave

    def forget(entrance: Entrance, socket: WebSocket) -> None:
        leave(entrance, socket)
        left.append(socket)

    monkeypatch.setattr(Gateway, "end", broken)
    monkeypatch.setattr(Entrance, "_leave", forget)
    with capture_logs() as logs:
        async with MemoryCluster().node() as node:
            client = await RawClient.open(node.url, "?user=eve")
            hello = await client.message()
            if way == "client":
                client.send(masked((1000).to_bytes(2, "big"), opcode=8))
                assert await client.rest() == [(8, (1000).to_bytes(2, "big"))]
            elif way == "node":
                assert node.gateway.close_session(hello["data"]["session"])
                assert closing(await client.rest())[0] == "kicked"
            else:
                client.abort()
            await until(lambda: left, "its socket is forgotten")
            await client.close()
    [told] = [log for log in logs if log["log_level"] == "error"]
    assert (told["event"], told["user"]) == ("session.end_failed", "eve")


async def test_a_silent_client_is_pinged_and_then_given_up() -> None:
    async with MemoryCluster().node(heartbeat_s=0.1) as node:
        client = await RawClient.open(node.url)
        frames = await client.rest()
        assert 9 in [opcode for opcode, _ in frames]
        assert closing(frames) == ("heartbeat", 4000)
        await client.close()


async def test_a_client_that_answers_pings_stays() -> None:
    async with MemoryCluster().node(heartbeat_s=0.05) as node:
        client = await RawClient.open(node.url)
        await client.message()
        for _ in range(8):
            assert await client.frame() == (9, b"")
            client.send(masked(b"", opcode=10))
        client.send(masked(b'{"type":"ping","id":1}'))
        assert (await client.message())["type"] == "pong"
        await client.close()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("way", ["short", "long"])
def test_a_socket_leaves_nothing_for_the_collector(
    loop: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "long":
        monkeypatch.setattr(Entrance, "take", lambda *_: False)

    async def run() -> None:
        before = remains()
        async with MemoryCluster().node(grace_s=0.02) as node:
            # What the first one costs (caches, first imports) is not counted.
            for count in range(7):
                wire = await Wire.open(node.url, room="lobby", user="ann")
                await wire.next("joined")
                if count == 1:
                    gc.collect()
                    gc.disable()
                await (wire.vanish() if count % 2 else wire.close())
            await until(lambda: not len(node.gateway.sessions), "all have gone")
            await until(lambda: not len(node.gateway), "all sockets have gone")

            def left() -> list[object]:
                return [one for one in remains() if not any(one is old for old in before)]

            await until(lambda: not left(), f"nothing left of the sockets but {left()}")

    try:
        _run(loop, run)
    finally:
        gc.enable()


def remains() -> list[object]:
    """What of sockets is in memory."""
    kinds = (WebSocket, Conversation, Request)
    return [one for one in gc.get_objects() if isinstance(one, kinds)]


def _run(loop: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    if loop == "uvloop":
        uvloop.run(run())
    else:
        asyncio.run(run())
