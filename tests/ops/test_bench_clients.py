"""The benchmarks' own clients: what they send is the protocol, what they count is right."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from roomful.bench.closed_loop import ClosedLoop, percentiles_us
from roomful.bench.running import run
from roomful.bench.speaker import Speaker, all_heard, talking
from roomful.bench.subject import Bench
from roomful.bench.wire import Broken, Socket, answered, split

SIZES = (0, 1, 125, 126, 65_535, 65_536, 100_000)


def server_frame(payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


@pytest.mark.parametrize("size", SIZES)
def test_frames_are_found_wherever_the_stream_is_cut(size: int) -> None:
    stream = server_frame(b"a" * size) + server_frame(b"end")
    whole = [(0x81, b"a" * size), (0x81, b"end")]
    assert split(stream) == (whole, b"")
    for cut in {1, 2, 3, 9, len(stream) // 2, len(stream) - 1}:
        found, rest = split(stream[:cut])
        more, rest = split(rest + stream[cut:])
        assert (found + more, rest) == (whole, b"")


async def _echo(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse(max_msg_size=0)
    await socket.prepare(request)
    await socket.ping(b"alive?")
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server that sends everything back, and pings."""
    application = web.Application()
    application.router.add_get("/echo", _echo)
    async with TestServer(application) as server:
        assert server.port is not None
        yield server.port


@pytest.mark.parametrize("size", SIZES)
async def test_a_real_server_understands_every_size(port: int, size: int) -> None:
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    socket = await Socket.open(port, "/echo", heard.set_result)
    socket.send(b"x" * size)
    assert await answered(heard, socket, 5) == b"x" * size
    await socket.close()


async def test_a_refused_handshake_says_what_came(port: int) -> None:
    with pytest.raises(Broken, match="404"):
        await Socket.open(port, "/nowhere", lambda _: None)


async def test_a_loop_keeps_its_number_on_the_way() -> None:
    loop, clock = ClosedLoop(8), asyncio.get_running_loop()
    open_now = most = 0

    def ask() -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        clock.call_later(0.001, answer)

    def answer() -> None:
        nonlocal open_now
        open_now -= 1
        loop.answered()

    loop.ask = ask
    await loop.all_of(100)
    assert (open_now, most) == (0, 8)
    rate, window = await loop.rate(0.2)
    assert 0 < rate < 8 / 0.001
    assert window.seconds >= 0.2
    assert open_now == 0


async def test_a_loop_of_one_takes_the_time_of_each_answer() -> None:
    loop, clock = ClosedLoop(1), asyncio.get_running_loop()

    def ask() -> None:
        clock.call_later(0.005, loop.answered)

    loop.ask = ask
    times, _ = await loop.times(2, 10)
    assert len(times) == 10
    assert all(0.004 < time < 1 for time in times)
    p50, p99 = percentiles_us(times)
    assert 4000 < p50 <= p99


async def test_what_is_no_answer_ends_the_loop() -> None:
    loop, clock = ClosedLoop(1), asyncio.get_running_loop()

    def ask() -> None:
        clock.call_soon(loop.fail, Broken("rate_limited"))

    loop.ask = ask
    with pytest.raises(Broken, match="rate_limited"):
        await loop.rate(5)


async def _left_open(port: int) -> None:
    await Socket.open(port, "/ws?room=r&name=ann", lambda _: None)
    raise Broken("bye")


def test_of_a_single_answer_there_are_no_percentiles() -> None:
    with pytest.raises(Broken, match="only 1"):
        percentiles_us([0.1])


async def test_what_a_speaker_meets_is_not_hidden() -> None:
    class Failing(Speaker):
        def __init__(self) -> None:
            self.heard_of = 0.0

        async def talk(self) -> None:
            raise Broken("bye")

    with pytest.raises(Broken, match="bye"):
        async with talking([Failing()]):
            await asyncio.sleep(0)


async def test_all_are_waited_for_until_they_are_heard_again() -> None:
    class Heard(Speaker):
        def __init__(self) -> None:
            self.heard_of = 1.0

    one, other = Heard(), Heard()
    with pytest.raises(TimeoutError):
        await all_heard([one, other], 1.0, 0.01)
    waiting = asyncio.create_task(all_heard([one, other], 1.0, 5))
    one.heard_of = 2.0
    await asyncio.sleep(0)
    assert not waiting.done()
    other.heard_of = 3.0
    await waiting


def test_a_failure_leaves_nothing_open(tmp_path: Path) -> None:
    with (
        Bench(tmp_path, None).bare(b"", 1) as server,
        pytest.raises(Broken, match="bye"),
    ):
        run(_left_open(server.port))
