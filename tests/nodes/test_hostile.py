"""Clients that do harm, over real sockets: they are refused, closed or slowed down, alone."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.support.bystander import undisturbed
from tests.support.cluster import until
from tests.support.nodes import MemoryCluster, MemoryNode
from tests.support.raw import RawClient, masked
from tests.support.wire import Wire

from roomful_nodes import conversation as conversation_module
from roomful_nodes import gateway as gateway_module
from roomful_nodes import outbox as outbox_module
from roomful_nodes import websocket as websocket_module
from roomful_nodes.conversation import Conversation
from roomful_nodes.outbox import LOW, Outbox, framed
from roomful_protocol.frames import Limits
from roomful_rooms.kinds import Kinds
from roomful_rooms.room import Message, Room, on

USUAL = Limits()
MANY = Limits(messages_per_s=1e6, burst=10**6)
JOIN = b'{"type":"join","room":"lobby"}'


class Sticky(Room):
    """A room one of whose handlers never returns."""

    rooms = "sticky-*"

    @on("do.hang")
    async def hang(self, message: Message) -> None:
        await asyncio.Event().wait()

    @on("do.say")
    def say(self, message: Message) -> None:
        self.broadcast("said.it", message.data)


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for long for those who do not answer a Close."""
    monkeypatch.setattr(websocket_module, "CLOSE_S", 0.3)


@pytest.fixture
async def node() -> AsyncIterator[MemoryNode]:
    async with MemoryCluster().node() as made:
        yield made


@pytest.fixture
async def opened() -> AsyncIterator[Callable[..., Any]]:
    """Open clients that are closed at the end: `await opened(node, query)`."""
    async with AsyncExitStack() as running:

        async def open(node: MemoryNode, query: str = "") -> RawClient:
            client = await RawClient.open(node.url, query)
            running.push_async_callback(client.close)
            assert (await client.message())["type"] == "hello"
            return client

        yield open


Opened = Callable[..., Any]


class Allowed:
    """How many frames one client may have had answered since this was made."""

    def __init__(self) -> None:
        self._since = asyncio.get_running_loop().time()

    @property
    def at_most(self) -> float:
        elapsed_s = asyncio.get_running_loop().time() - self._since
        return USUAL.burst + elapsed_s * USUAL.messages_per_s


def ended(frames: list[tuple[int, bytes]]) -> tuple[str, int]:
    """What the `bye` said, and the code of the Close: the last two frames."""
    (_, bye), (close, code) = frames[-2:]
    assert close == 8
    return json.loads(bye)["data"]["code"], int.from_bytes(code[:2], "big")


def outbox_of(node: MemoryNode, user: str) -> Outbox:
    """The node's way out to the only socket of `user`."""
    [session] = node.gateway.sessions.connected(user)
    assert isinstance(session.line, Conversation)
    return session.line.outbox


def narrow(outbox: Outbox) -> None:
    """Let the kernel take little of what is written."""
    transport: Any = outbox._transport
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)


async def test_a_flood_is_refused_with_a_hint_and_then_ended(
    node: MemoryNode, opened: Opened
) -> None:
    async def flood() -> None:
        client = await opened(node)
        allowed = Allowed()
        client.send(masked(b'{"type":"ping","id":1}') * 5000)
        frames = await client.rest()
        told = [json.loads(payload) for opcode, payload in frames if opcode == 1]
        pongs = [one for one in told if one["type"] == "pong"]
        errors = [one["error"] for one in told if one["type"] == "error"]
        assert USUAL.burst <= len(pongs) <= allowed.at_most
        assert {error["code"] for error in errors} == {"rate_limited"}
        assert all(error["retry"] and error["retry_after_ms"] <= 20 for error in errors)
        assert ended(frames) == ("overloaded", 1013)
        assert told[-1]["data"]["delay_ms"] == [1000, 10_000]

    await undisturbed(node.url, flood())
    metrics = node.node.metrics
    assert metrics.rate_limited._value.get() > 900
    assert metrics.closed.labels("overloaded")._value.get() == 1


async def test_a_client_a_little_too_fast_is_told_and_stays(
    node: MemoryNode, opened: Opened
) -> None:
    client = await opened(node)
    client.send(masked(b'{"type":"ping","id":1}') * 120)
    told = [(await client.message())["type"] for _ in range(120)]
    assert told[0] == "pong"
    assert "error" in told
    await asyncio.sleep(0.2)
    client.send(masked(b'{"type":"ping","id":2}'))
    assert (await client.message())["type"] == "pong"


async def test_pings_without_end_are_not_answered_without_end(
    node: MemoryNode, opened: Opened
) -> None:
    async def ping() -> None:
        client = await opened(node)
        allowed = Allowed()
        client.send(masked(b"", opcode=9) * 50_000)
        frames = await client.rest()
        assert sum(opcode == 10 for opcode, _ in frames) <= allowed.at_most
        assert frames[-1] == (8, (1013).to_bytes(2, "big") + b"overloaded")

    await undisturbed(node.url, ping())


async def test_a_message_in_thousands_of_pieces_is_a_message(
    node: MemoryNode, opened: Opened
) -> None:
    said = b'{"type":"ping","id":"%b"}' % (b"x" * 60)
    said += b" " * (20_000 - len(said))

    async def piece() -> None:
        client = await opened(node)
        pieces = [masked(said[:1], first=0)]
        pieces += [masked(said[at : at + 1], opcode=0, first=0) for at in range(1, len(said))]
        client.send(b"".join(pieces) + masked(b"", opcode=0))
        assert (await client.message())["type"] == "pong"

    await undisturbed(node.url, piece())


async def test_pieces_without_end_are_read_at_a_bearable_pace(opened: Opened) -> None:
    limits = Limits(message_bytes=1000, messages_per_s=50, burst=100)
    async with MemoryCluster().node(limits=limits) as node:

        async def piece() -> None:
            client = await opened(node)
            # Empty ones, so that no limit of size is ever reached.
            client.send(masked(b"", first=0) + masked(b"", opcode=0, first=0) * 4_000_000)
            await asyncio.sleep(3)
            # What has left is hardly more than the kernel's buffers hold.
            assert client.unsent > 8_000_000
            client.abort()

        await undisturbed(node.url, piece())


@pytest.mark.parametrize(
    "said",
    [
        b"[" * 10_000,
        b'{"type":"a.b","data":' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"type":"a.b","data":' + b'{"a":' * 900 + b"1" + b"}" * 901,
        b'{"type":"a.b","data":1e999}',
        b'{"type":"a.b","data":' + b"9" * 5_000 + b"}",
        b"\xff\xfe",
    ],
    ids=["brackets", "deep list", "deep object", "infinite", "digits", "no text"],
)
async def test_monstrous_json_is_an_error_and_no_more(
    node: MemoryNode, opened: Opened, said: bytes
) -> None:
    client = await opened(node)
    client.send(masked(said))
    assert (await client.message())["error"]["code"] in ("bad_frame", "bad_data")
    client.send(masked(b'{"type":"ping","id":1}'))
    assert (await client.message())["type"] == "pong"


async def test_an_oversized_message_ends_its_sender_alone(node: MemoryNode, opened: Opened) -> None:
    async def exaggerate() -> None:
        client = await opened(node)
        client.send(masked(b"x" * 1_000_000))
        assert ended(await client.rest()) == ("too_big", 1009)

    await undisturbed(node.url, exaggerate())


async def test_who_never_reads_its_answers_is_not_heard_any_more(
    monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    monkeypatch.setattr(outbox_module, "PATIENCE_S", 1.0)
    monkeypatch.setattr(conversation_module, "HIGH", 100_000)
    monkeypatch.setattr(outbox_module, "LOW", 50_000)
    limits = Limits(messages_per_s=20_000, burst=5_000)
    async with MemoryCluster().node(limits=limits) as node:

        async def talk() -> None:
            client = await opened(node, "?room=lobby&user=eve")
            narrow(outbox_of(node, "eve"))
            ping = masked(b'{"type":"ping","id":"%b"}' % (b"i" * 60))
            for _ in range(4):
                client.send(ping * 2_500)
                await asyncio.sleep(0.15)
            metrics = node.node.metrics
            closed = metrics.closed.labels("too_slow")
            await until(lambda: closed._value.get() == 1, "given up")
            client.abort()

        await undisturbed(node.url, talk())


async def test_messages_for_one_that_never_reads_fill_no_memory(opened: Opened) -> None:
    async with MemoryCluster().node(limits=MANY) as node:

        async def whisper() -> None:
            await opened(node, "?user=eve")
            ann = await Wire.open(node.url, user="ann")
            narrow(outbox_of(node, "eve"))
            frame = {"type": "note.hi", "to": {"user": "eve"}, "data": "x" * 60_000}
            answers = []
            for _ in range(400):
                answers.append(await ann.ask(frame))
                if answers[-1]["type"] == "error":
                    break
            assert answers[-1]["error"]["code"] == "unknown_target"
            assert node.node.metrics.closed.labels("too_slow")._value.get() == 1
            await ann.close()

        await undisturbed(node.url, whisper())


async def test_one_that_joins_and_leaves_all_the_time_harms_nobody(opened: Opened) -> None:
    async with MemoryCluster().node(limits=MANY) as node:

        async def loop() -> None:
            client = await opened(node)
            client.send((masked(JOIN) + masked(b'{"type":"leave","room":"lobby"}')) * 300)
            client.send(masked(b'{"type":"join","room":"lobby","id":"last"}'))
            told: list[dict[str, Any]] = []
            while not told or told[-1].get("id") != "last":
                told.append(await client.message())
            assert [one["type"] for one in told if one["type"] in ("joined", "left")] == (
                # Who has left before it is let in is not told any more that it was.
                ["left"] * 300 + ["joined"]
            )

        await undisturbed(node.url, loop())


async def test_beyond_what_fits_nobody_is_let_in(
    node: MemoryNode, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_module, "CONNECTIONS", 3)

    async def crowd() -> None:
        await opened(node)
        await opened(node)
        late = await RawClient.open(node.url)
        assert ended(await late.rest()) == ("overloaded", 1013)
        await late.close()

    await undisturbed(node.url, crowd())
    assert node.node.metrics.turned_away_full._value.get() == 1


async def test_a_full_mailbox_is_busy_and_says_when_to_try_again() -> None:
    async with MemoryCluster(Kinds([("sticky-*", Sticky)])).node(
        mailbox=5, limits=MANY, handler_timeout_s=1
    ) as node:

        async def fill() -> None:
            eve = await Wire.open(node.url, room="sticky-1", user="eve")
            await eve.next("joined")
            await eve.send({"type": "do.hang", "id": "hang"})
            for number in range(20):
                await eve.send({"type": "do.say", "id": number, "data": number})
            busy = await eve.where(type="error", id=19)
            assert busy["error"]["code"] == "busy"
            assert busy["error"]["retry_after_ms"] > 0
            await eve.close()

        await undisturbed(node.url, fill())


async def test_a_handler_that_never_returns_costs_its_room_a_while() -> None:
    async with MemoryCluster(Kinds([("sticky-*", Sticky)])).node(handler_timeout_s=0.3) as node:

        async def hang() -> None:
            eve = await Wire.open(node.url, room="sticky-1", user="eve")
            await eve.next("joined")
            hanging = await eve.ask({"type": "do.hang"})
            assert hanging["error"]["code"] == "handler_failed"
            assert (await eve.ask({"type": "do.say", "data": 1}))["type"] == "ack"
            await eve.close()

        await undisturbed(node.url, hang())


async def test_a_socket_that_is_half_open_is_given_up(opened: Opened) -> None:
    async with MemoryCluster().node(heartbeat_s=0.2) as node:

        async def freeze() -> None:
            await opened(node, "?room=lobby&user=eve")
            closed = node.node.metrics.closed.labels("heartbeat")
            await until(lambda: closed._value.get() == 1, "given up")
            assert len(node.gateway) == 1, "the bystander is still there"

        await undisturbed(node.url, freeze())


@pytest.mark.parametrize("way", ["close", "half-close"])
async def test_who_goes_without_reading_is_cut_after_a_while(
    node: MemoryNode, opened: Opened, way: str
) -> None:
    client = await opened(node, "?user=eve")
    outbox = outbox_of(node, "eve")
    narrow(outbox)
    transport: Any = outbox._transport
    sock = transport.get_extra_info("socket")
    while outbox.waiting < LOW / 2:
        outbox.write(framed(b"x" * 10_000, 1))
        await asyncio.sleep(0)
    if way == "close":
        client.send(masked((1000).to_bytes(2, "big"), opcode=8))
    else:
        client.finish()
    await until(lambda: not len(node.gateway), "it is here no more")
    assert 0 < transport.get_write_buffer_size() < LOW
    await until(lambda: sock.fileno() < 0, "its socket is closed")


async def test_one_that_reads_slowly_gets_everything_and_costs_a_bounded_part(
    opened: Opened,
) -> None:
    """The node's side of its socket never holds more than the ladder says."""
    async with MemoryCluster().node(limits=MANY) as node:
        slow = await opened(node, "?room=lobby&user=slow")
        outbox, most = outbox_of(node, "slow"), 0
        ann = await Wire.open(node.url, room="lobby", user="ann")
        end = 0
        for _ in range(300):
            end = (await ann.say("lobby", "x" * 60_000))["seq"]
            most = max(most, outbox.waiting)
        assert node.node.metrics.lagging._value.get() == 1
        last = 0
        while last < end:
            message = await slow.message()
            most = max(most, outbox.waiting)
            if "seq" in message and message["type"] in ("chat.message", "presence"):
                assert last in (0, message["seq"] - 1)
                last = message["seq"]
        assert most < outbox_module.HIGH + 2 * LOW
        caught_up = node.node.metrics.caught_up
        await until(lambda: caught_up._value.get() == 1, "live again")
        await ann.say("lobby", "live again")
        assert (await slow.message())["seq"] == end + 1
        await ann.close()
