"""The way out to one socket."""

import asyncio

import pytest
from tests.support.sockets import FakeTransport
from tests.support.virtual_time import virtual

from roomful_nodes import outbox as outbox_module
from roomful_nodes.outbox import LOW, MOST, PATIENCE_S, Outbox, Stalled, framed, run_of
from roomful_protocol.codecs import JSON, MSGPACK, Codec
from roomful_protocol.errors import DRAIN, KICKED, TOO_SLOW
from roomful_protocol.frames import pong


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
def ended() -> list[int]:
    return []


@pytest.fixture
def outbox(transport: FakeTransport, ended: list[int]) -> Outbox:
    return Outbox(transport, JSON, lambda: ended.append(1))


LENGTHS = [0, 1, 125, 126, 127, 1023, 1024, 65_535, 65_536, 200_000]


@pytest.mark.parametrize("size", LENGTHS)
def test_frames_of_every_length(transport: FakeTransport, size: int) -> None:
    transport.write(framed(b"x" * size, 2))
    transport.write(framed(b"y", 1))
    assert transport.payloads() == [(2, b"x" * size), (1, b"y")]


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_frames_in_one_piece_are_the_same_as_single_ones(codec: Codec) -> None:
    frames = [b'"%b"' % (b"x" * size) for size in LENGTHS]
    single = [framed(codec.shown(one), codec.opcode) for one in frames]
    assert run_of(frames, codec) == b"".join(single)


def test_frames_are_in_the_clients_codec(transport: FakeTransport) -> None:
    Outbox(transport, JSON, lambda: None).send(pong(1, 2))
    Outbox(transport, MSGPACK, lambda: None).show(b'{"type":"pong"}')
    assert [opcode for opcode, _ in transport.payloads()] == [1, 2]
    assert transport.frames() == [
        {"type": "pong", "id": 1, "data": {"time": 2}},
        {"type": "pong"},
    ]


async def test_what_is_gathered_leaves_in_one_piece_when_the_turn_is_over(
    outbox: Outbox, transport: FakeTransport
) -> None:
    outbox.gather(b'{"type":"ack","seq":1}')
    outbox.gather(b'{"type":"ack","seq":2}')
    assert transport.written == []
    await asyncio.sleep(0)
    assert len(transport.written) == 1
    assert transport.frames() == [{"type": "ack", "seq": 1}, {"type": "ack", "seq": 2}]
    await asyncio.sleep(0)
    assert len(transport.written) == 1


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
async def test_nothing_is_gathered_while_something_waits_that_it_can_go_out_with(
    codec: Codec, transport: FakeTransport
) -> None:
    outbox = Outbox(transport, codec, lambda: None)
    transport.waiting = 1
    outbox.gather(b'{"type":"ack","seq":1}')
    assert [opcode for opcode, _ in transport.payloads()] == [codec.opcode]
    assert transport.frames() == [{"type": "ack", "seq": 1}]
    transport.waiting = 0
    outbox.gather(b'{"type":"ack","seq":2}')
    assert len(transport.frames()) == 1


async def test_what_is_gathered_comes_before_what_is_written_after_it(
    outbox: Outbox, transport: FakeTransport
) -> None:
    outbox.gather(b'{"type":"ack"}')
    outbox.end(KICKED)
    assert [frame["type"] for frame in transport.frames()] == ["ack", "bye"]
    outbox.gather(b'{"type":"ack"}')
    await asyncio.sleep(0)
    assert len(transport.frames()) == 2


def test_the_end_is_told_and_nothing_is_written_after_it(
    outbox: Outbox, transport: FakeTransport, ended: list[int]
) -> None:
    outbox.pause_reading()
    outbox.end(DRAIN, delay_ms=(0, 500))
    outbox.end(TOO_SLOW)
    outbox.send(pong(1, 2))
    [bye] = transport.frames()
    assert bye["data"]["code"] == "drain"
    assert bye["data"]["delay_ms"] == [0, 500]
    assert bye["data"]["resume"] is True
    assert (outbox.close, ended) == (DRAIN, [1])
    assert transport.reading, "else the client's Close is not heard"


def test_who_is_not_to_come_back_is_told_so(outbox: Outbox, transport: FakeTransport) -> None:
    outbox.end(KICKED)
    [bye] = transport.frames()
    assert (bye["data"]["reconnect"], bye["data"]["resume"]) == (False, False)


def test_a_closed_transport_ends_it_quietly(outbox: Outbox, transport: FakeTransport) -> None:
    transport.broken = True
    outbox.send(pong(1, 2))
    assert not outbox.open
    assert outbox.close is None


async def test_waiting_ends_when_the_client_has_read(
    outbox: Outbox, transport: FakeTransport
) -> None:
    transport.waiting = LOW + 1
    sizes = iter([LOW + 1, LOW + 1, LOW])
    transport.get_write_buffer_size = lambda: next(sizes)  # type: ignore[method-assign]
    await outbox.drained()
    assert next(sizes, None) is None


async def test_a_client_that_takes_nothing_is_given_up(
    outbox: Outbox, transport: FakeTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "PATIENCE_S", 0.02)
    transport.waiting = LOW + 1
    with pytest.raises(Stalled):
        await outbox.drained()


@virtual
async def test_whatever_the_client_takes_is_progress_though_others_write_more() -> None:
    transport = FakeTransport()
    outbox = Outbox(transport, JSON, lambda: None)
    transport.waiting = LOW + 1
    waiting = asyncio.ensure_future(outbox.drained())
    for _ in range(10):
        await asyncio.sleep(PATIENCE_S / 2)
        transport.waiting += 5000
        await asyncio.sleep(1)
        transport.waiting -= 100
    assert not waiting.done()
    transport.waiting = LOW
    await waiting


@virtual
async def test_those_who_wait_for_one_socket_write_in_turn() -> None:
    transport = FakeTransport()
    transport.stuck = True
    outbox = Outbox(transport, JSON, lambda: None)
    wrote = []

    async def writing(number: int) -> None:
        for _ in range(3):
            await outbox.drained()
            outbox.write(b"x" * (LOW + 1))
            wrote.append(number)

    writers = [asyncio.ensure_future(writing(number)) for number in range(5)]
    for _ in range(15):
        await asyncio.sleep(1)
        assert transport.waiting <= LOW + 1
        transport.waiting = 0
    await asyncio.gather(*writers)
    # The first finds an empty socket; from then on nobody writes twice while others wait.
    assert wrote == [0, *[0, 1, 2, 3, 4] * 2, 1, 2, 3, 4]


def test_more_than_fits_ends_it(outbox: Outbox, transport: FakeTransport, ended: list[int]) -> None:
    transport.stuck = True
    for _ in range(9):
        outbox.write(framed(b"x" * (MOST // 8), 2))
    assert (outbox.open, outbox.close, ended) == (False, TOO_SLOW, [1])
    opcode, bye = transport.payloads()[-1]
    assert (opcode, b'"too_slow"' in bye) == (1, True)
    written = len(transport.written)
    outbox.write(b"more")
    assert len(transport.written) == written


async def test_waiting_ends_with_the_socket(outbox: Outbox, transport: FakeTransport) -> None:
    transport.waiting = LOW + 1
    outbox.shut()
    await outbox.drained()
    assert not outbox.open
