"""The fault proxy: each fault does to real connections what it says, and ends when it is healed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import uvloop
from structlog.testing import capture_logs
from tests.support.cluster import until

from roomful.check.proxy import CHUNK, HOST, IN_FLIGHT, Direction, FaultProxy

Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Shouter:
    """A server that answers every byte string in capitals, and counts what reached it."""

    def __init__(self) -> None:
        self.port = 0
        self.heard = b""
        self.ends: list[str] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while chunk := await reader.read(CHUNK):
                self.heard += chunk
                writer.write(chunk.upper())
            self.ends.append("end")
        except ConnectionResetError:
            self.ends.append("reset")
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Shouter]:
    shouter = Shouter()
    listening = await asyncio.start_server(shouter.serve, HOST, 0)
    shouter.port = listening.sockets[0].getsockname()[1]
    yield shouter
    listening.close()
    for writer in shouter.writers:
        writer.close()
    await listening.wait_closed()


@pytest.fixture
async def proxy(server: Shouter) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(HOST, server.port) as proxy:
        yield proxy


@pytest.fixture
async def wire(proxy: FaultProxy) -> AsyncIterator[Wire]:
    reader, writer = await asyncio.open_connection(HOST, proxy.port)
    yield reader, writer
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def say(wire: Wire, text: bytes) -> bytes:
    wire[1].write(text)
    return await asyncio.wait_for(wire[0].readexactly(len(text)), 5)


async def nothing_comes(wire: Wire) -> bool:
    """Whether nothing arrives for as long as many round trips over loopback take."""
    with suppress(TimeoutError):
        await asyncio.wait_for(wire[0].read(1), 0.1)
        return False
    return True


async def test_it_passes_everything_both_ways(wire: Wire, proxy: FaultProxy) -> None:
    assert await say(wire, b"hello") == b"HELLO"
    large = b"x" * (5 * IN_FLIGHT * CHUNK)
    assert await say(wire, large) == large.upper()
    assert (proxy.accepted, proxy.connections) == (1, 1)


async def test_an_end_is_passed_on_and_the_other_way_goes_on(
    wire: Wire, server: Shouter, proxy: FaultProxy
) -> None:
    reader, writer = wire
    writer.write(b"last words")
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 5) == b"LAST WORDS"
    assert server.ends == ["end"]
    await until(lambda: proxy.connections == 0, "the connection is forgotten")


async def test_a_cut_resets_what_is_open_and_what_comes(
    wire: Wire, proxy: FaultProxy, server: Shouter
) -> None:
    await say(wire, b"hello")
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(wire[0].read(1), 5)
    await until(lambda: server.ends == ["reset"], "the server sees the reset too")
    assert await _refused(proxy)
    proxy.heal()
    assert not await _refused(proxy)


async def _refused(proxy: FaultProxy) -> bool:
    """Whether a new connection is of no use."""
    writer = None
    try:
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        return await say((reader, writer), b"anyone?") != b"ANYONE?"
    except (OSError, asyncio.IncompleteReadError):
        return True
    finally:
        if writer is not None:
            writer.close()


async def test_a_clean_cut_ends_connections_in_good_order(
    wire: Wire, proxy: FaultProxy, server: Shouter
) -> None:
    await say(wire, b"hello")
    proxy.cut(clean=True)
    assert await asyncio.wait_for(wire[0].read(1), 5) == b""
    await until(lambda: server.ends == ["end"], "the server sees an end")
    assert await _refused(proxy)


async def test_a_reset_strikes_once(wire: Wire, proxy: FaultProxy) -> None:
    await say(wire, b"hello")
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(wire[0].read(1), 5)
    assert not await _refused(proxy)


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_hold_of_one_way_keeps_bytes_and_order(
    wire: Wire, proxy: FaultProxy, server: Shouter, way: Direction
) -> None:
    await say(wire, b"one")
    proxy.hold(way)
    wire[1].write(b"two")
    wire[1].write(b"six")
    if way == "down":
        await until(lambda: server.heard == b"onetwosix", "the server hears")
    assert await nothing_comes(wire)
    if way == "up":
        assert server.heard == b"one"
    proxy.release(way)
    assert await asyncio.wait_for(wire[0].readexactly(6), 5) == b"TWOSIX"


async def test_a_black_hole_hides_ends_and_takes_new_connections_nowhere(
    wire: Wire, proxy: FaultProxy, server: Shouter
) -> None:
    await say(wire, b"hello")
    proxy.hold()
    reader, writer = await asyncio.open_connection(HOST, proxy.port)
    writer.write(b"anyone?")
    wire[1].close()
    assert await nothing_comes((reader, writer))
    assert (server.ends, len(server.writers)) == ([], 1)
    proxy.heal()
    await until(lambda: server.ends, "the end arrives late")
    assert await asyncio.wait_for(reader.readexactly(7), 5) == b"ANYONE?"
    writer.close()


async def test_faults_of_some_connections_leave_the_others_alone(
    wire: Wire, proxy: FaultProxy, server: Shouter
) -> None:
    await say(wire, b"hello, I am ann")
    other = await asyncio.open_connection(HOST, proxy.port)
    await say(other, b"hello, I am bob")
    proxy.only(b"I am bob")
    proxy.hold()
    other[1].write(b"lost?")
    assert await nothing_comes(other)
    assert await say(wire, b"well?") == b"WELL?"
    proxy.cut()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(other[0].read(1), 5)
    again = await asyncio.open_connection(HOST, proxy.port)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await say(again, b"It is me again: I am bob")
    assert b"me again" not in server.heard
    proxy.heal()
    other = await asyncio.open_connection(HOST, proxy.port)
    await say(other, b"I am bob")
    assert await say(wire, b"well?") == b"WELL?"
    for _, writer in (other, again):
        writer.close()


async def test_a_delay_keeps_the_order(wire: Wire, proxy: FaultProxy) -> None:
    loop = asyncio.get_running_loop()
    proxy.delay(0.2, "down")
    began = loop.time()
    assert await say(wire, b"slow") == b"SLOW"
    assert loop.time() - began >= 0.2
    wire[1].write(b"first ")
    await asyncio.sleep(0.01)  # so that it is a chunk of its own, and under way
    proxy.heal()
    assert await say(wire, b"then") == b"firs".upper(), "what is under way is not overtaken"


async def test_a_throttled_way_passes_so_much_a_second(wire: Wire, proxy: FaultProxy) -> None:
    loop = asyncio.get_running_loop()
    proxy.throttle(20_000, "up")
    began = loop.time()
    await say(wire, b"x" * 10_000)
    assert 0.4 <= loop.time() - began < 3


async def test_who_sends_into_a_hold_has_to_wait(wire: Wire, proxy: FaultProxy) -> None:
    """What the proxy keeps for others is bounded."""
    proxy.hold("up")
    writer = wire[1]
    sent = 0

    async def send() -> None:
        nonlocal sent
        while sent < 100 * IN_FLIGHT * CHUNK:
            writer.write(bytes(CHUNK))
            await writer.drain()
            sent += CHUNK

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(send(), 1)
    assert sent < 50 * IN_FLIGHT * CHUNK
    writer.transport.abort()


async def test_a_server_that_refuses_shows_as_a_reset() -> None:
    async with FaultProxy(HOST, 1) as proxy:
        assert await _refused(proxy)


async def test_leaving_ends_all_connections(server: Shouter) -> None:
    async with FaultProxy(HOST, server.port) as proxy:
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        await say((reader, writer), b"hello")
        proxy.hold()
    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(reader.read(1), 5)
    writer.close()


def test_writing_to_a_side_that_is_closed_already_is_no_bug() -> None:
    """uvloop raises what asyncio passes over."""

    async def closed_while_delayed() -> None:
        shouter = Shouter()
        async with await asyncio.start_server(shouter.serve, HOST, 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            async with FaultProxy(HOST, port) as proxy:
                _, writer = await asyncio.open_connection(HOST, proxy.port)
                proxy.delay(0.05, "down")
                writer.write(b"hello")
                await until(lambda: shouter.heard, "the server hears")
                connection = next(iter(proxy._open))
                connection._sides[0].transport.abort()
                await until(lambda: not proxy.connections, "the connection ends")
                writer.close()

    with capture_logs() as logs, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(closed_while_delayed())
    assert logs == []
