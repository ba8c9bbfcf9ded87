"""Connections that ask for nothing, or take their time: they cost nobody but themselves."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest
import uvloop
from prometheus_client import CollectorRegistry
from tests.support.bystander import undisturbed
from tests.support.cluster import until
from tests.support.nodes import MemoryCluster
from tests.support.raw import RawClient, handshake, masked
from tests.support.virtual_time import VirtualLoop, turns, virtual
from tests.support.virtual_time import until as virtually

from roomful_nodes import admission as admission_module
from roomful_nodes import doorstep as doorstep_module
from roomful_nodes import site as site_module
from roomful_nodes import websocket as websocket_module
from roomful_nodes.doorstep import AT_A_TIME, LONGEST_S, PACE_S, Doorstep
from roomful_nodes.metrics import Metrics

PATIENCE_S = 10
"""More than a busy machine needs, less than a node waits that was not narrowed."""


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorstep_module, "VISITORS", 10)
    monkeypatch.setattr(site_module, "REQUEST_S", 0.3)
    monkeypatch.setattr(websocket_module, "CLOSE_S", 0.3)


@pytest.fixture
async def clients() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as open:
        yield open


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_of_too_many_silent_connections_the_oldest_go(loop: str) -> None:
    async def run() -> None:
        async with MemoryCluster().node() as node, AsyncExitStack() as open:

            async def crowd() -> None:
                silent = []
                for _ in range(25):
                    silent.append(client := await RawClient.connect(node.url))
                    open.push_async_callback(client.close)
                for client in silent[:15]:
                    assert await client.head() == b""
                # Whoever asks is heard, however many are silent.
                silent[-1].send(handshake())
                assert b" 101 " in await silent[-1].head()
                assert (await silent[-1].message())["type"] == "hello"

            await undisturbed(node.url, crowd())
            assert node.node.metrics.turned_away_idle._value.get() >= 15

    _run(loop, run)


async def test_sockets_do_not_stand_on_the_doorstep(clients: AsyncExitStack) -> None:
    async with MemoryCluster().node() as node:
        open = [await RawClient.open(node.url) for _ in range(15)]
        for client in open:
            clients.push_async_callback(client.close)
            await client.message()
        for client in open:
            client.send(masked(b'{"type":"ping","id":1}'))
            assert (await client.message())["type"] == "pong"


@pytest.mark.parametrize("said", [b"", b"GET /ws HTT", handshake()[:-2], b"\r\n"])
async def test_half_a_request_is_not_waited_for(said: bytes, clients: AsyncExitStack) -> None:
    async with MemoryCluster().node() as node:

        async def half() -> None:
            client = await RawClient.connect(node.url)
            clients.push_async_callback(client.close)
            client.send(said)
            assert await client.head(within_s=PATIENCE_S) == b""

        await undisturbed(node.url, half())


async def test_a_byte_at_a_time_is_too_slow(clients: AsyncExitStack) -> None:
    async with MemoryCluster().node() as node:

        async def drip() -> None:
            client = await RawClient.connect(node.url)
            clients.push_async_callback(client.close)
            ended = asyncio.ensure_future(client.head())
            for at in range(len(handshake())):
                if ended.done():
                    break
                client.send(handshake()[at : at + 1])
                await asyncio.sleep(0.01)
            assert await ended == b""

        await undisturbed(node.url, drip())


async def test_a_connection_is_kept_for_a_while_after_a_request(clients: AsyncExitStack) -> None:
    async with MemoryCluster().node() as node:
        client = await RawClient.connect(node.url)
        clients.push_async_callback(client.close)
        for _ in range(2):
            client.send(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 200 " in await client.head()
        assert await client.head(within_s=PATIENCE_S) == b""


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: x\r\nCookie: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 5_000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00" * 100,
    ],
    ids=["line", "field", "fields", "tls"],
)
async def test_an_immoderate_head_is_refused(head: bytes, clients: AsyncExitStack) -> None:
    async with MemoryCluster().node() as node:

        async def ask() -> None:
            client = await RawClient.connect(node.url)
            clients.push_async_callback(client.close)
            client.send(head)
            answer = await client.head(within_s=PATIENCE_S)
            assert b" 400 " in answer or answer == b""

        await undisturbed(node.url, ask())


async def test_who_comes_in_a_crowd_is_told_over_http_when_to_come_again(
    monkeypatch: pytest.MonkeyPatch, clients: AsyncExitStack
) -> None:
    monkeypatch.setattr(admission_module, "PATIENCE_S", 0.5)
    async with MemoryCluster().node(limit_connects_per_s=10) as node:
        crowd = [await RawClient.connect(node.url) for _ in range(9)]
        for client in crowd:
            clients.push_async_callback(client.close)
            client.send(handshake())
        answers = [await client.head() for client in crowd]
        assert sum(b" 101 " in answer for answer in answers) == 7
        refused = [answer for answer in answers if b" 503 " in answer]
        assert len(refused) == 2
        assert all(b"\r\nRetry-After: 1\r\n" in answer for answer in refused)


class Street:
    """Clients before a doorstep, each at the other end of a connection, and what was taken."""

    def __init__(self) -> None:
        self.doorstep = Doorstep(self._take, asyncio.Protocol, Metrics(CollectorRegistry()))
        self.taken: list[bytes] = []

    def _take(self, transport: asyncio.Transport, said: bytes) -> bool:
        if said == b"trouble":
            raise RuntimeError("a bug")
        self.taken.append(said)
        return True

    async def client(self) -> socket.socket:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            accepted, _ = listening.accept()
        client.settimeout(PATIENCE_S)
        await asyncio.get_running_loop().connect_accepted_socket(self.doorstep, accepted)
        return client


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_who_has_gone_is_not_taken_in_a_crowd_either(
    loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        street = Street()
        first, gone, last = [await street.client() for _ in range(3)]
        asks = street.doorstep.asks

        def asleep(visitor: doorstep_module.Visitor) -> None:
            asks(visitor)
            if visitor.transport.get_extra_info("peername") == first.getsockname():
                # It is in the turn after this that the node hears of it.
                gone.sendall(b"gone")
                gone.close()

        monkeypatch.setattr(street.doorstep, "asks", asleep)
        with first, last:
            first.sendall(b"first")
            await until(lambda: b"first" in street.taken, "the first is taken")
            last.sendall(b"last")
            await until(lambda: b"last" in street.taken, "the last is taken")
        assert street.taken == [b"first", b"last"]

    _run(loop, run)


async def test_one_that_fails_does_not_hold_up_those_who_came_with_it() -> None:
    street = Street()
    clients = [await street.client() for _ in range(3)]
    for client, said in zip(clients, (b"one", b"trouble", b"two"), strict=True):
        client.sendall(said)
    await until(lambda: len(street.taken) == 2, "the others are taken")
    assert await asyncio.to_thread(_ended, clients[1])
    assert not len(street.doorstep)
    for client in clients:
        client.close()


async def test_whoever_was_not_looked_at_in_time_is_cut_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    street = Street()
    silent, late = [await street.client() for _ in range(2)]
    asks = street.doorstep.asks

    def close(visitor: doorstep_module.Visitor) -> None:
        asks(visitor)
        street.doorstep.close()

    monkeypatch.setattr(street.doorstep, "asks", close)
    with silent, late:
        late.sendall(b"late")
        assert await asyncio.to_thread(_ended, silent)
        assert await asyncio.to_thread(_ended, late)
    assert not street.taken


class Listener(asyncio.Protocol):
    """Knows how much it was given at a time."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    def data_received(self, data: bytes) -> None:
        self.heard.append(len(data))


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_who_says_a_lot_before_it_is_looked_at_is_heard_later(loop: str) -> None:
    much, listener = b"x" * 2**23, Listener()

    async def run() -> None:
        street = Street()
        street.doorstep.take, street.doorstep.server = lambda *_: False, lambda: listener
        street.doorstep._next = asyncio.get_running_loop().time() + LONGEST_S
        with await street.client() as client:
            await asyncio.to_thread(client.sendall, much)
            await until(lambda: sum(listener.heard) == len(much), "all is heard")

    _run(loop, run)
    assert listener.heard[0] < 2**19


@virtual
async def test_under_load_crowds_are_waited_for_as_long_as_the_last_one_took() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    began, looked = loop.time(), []

    def take(_: asyncio.Transport, said: bytes) -> bool:
        looked.append((round(loop.time() - began, 4), said))
        loop.pass_time(float(said))
        return True

    doorstep = Doorstep(take, asyncio.Protocol, Metrics(CollectorRegistry()))

    def comes(said: bytes) -> None:
        visitor = doorstep_module.Visitor(doorstep)
        visitor.connection_made(StillThere())
        visitor.data_received(said)

    comes(b"0.001")
    await turns()
    # One who comes alone waits for nobody; and those who come soon after come together.
    comes(b"0.01")
    comes(b"0.02")
    await virtually(lambda: len(looked) == 3)
    comes(b"9")
    await virtually(lambda: len(looked) == 4)
    comes(b"0")
    await virtually(lambda: len(looked) == 5)
    assert [said for _, said in looked] == [b"0.001", b"0.01", b"0.02", b"9", b"0"]
    second = 0.001 + PACE_S
    third = second + 0.03 + 0.03
    at = [0.0, second, second + 0.01, third, third + 9 + LONGEST_S]
    # This test looks once a millisecond itself.
    assert [when for when, _ in looked] == pytest.approx(at, abs=0.0015)


@virtual
async def test_all_else_has_its_turn_while_a_large_crowd_is_looked_at() -> None:
    taken, turn = list[int](), 0

    def take(_: asyncio.Transport, said: bytes) -> bool:
        if said == b"trouble":
            raise RuntimeError("a bug")
        taken.append(turn)
        return True

    doorstep = Doorstep(take, asyncio.Protocol, Metrics(CollectorRegistry()))
    said = [b"trouble" if number == AT_A_TIME else b"hello" for number in range(3 * AT_A_TIME)]
    for one in said:
        visitor = doorstep_module.Visitor(doorstep)
        visitor.connection_made(StillThere())
        visitor.data_received(one)
    async with asyncio.timeout(1):
        while len(taken) < len(said) - 1:
            turn += 1
            await asyncio.sleep(0)
    assert [taken.count(turn) for turn in sorted(set(taken))] == [
        AT_A_TIME,
        AT_A_TIME - 1,
        AT_A_TIME,
    ]
    await turns()
    assert not doorstep._looking, "the next crowd is welcome"


class StillThere(asyncio.Transport):
    """A connection of which nothing more is asked."""

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        pass


def _ended(client: socket.socket) -> bool:
    """Whether its connection was ended, and not by a word."""
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def _run(loop: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    if loop == "uvloop":
        uvloop.run(run())
    else:
        asyncio.run(run())
