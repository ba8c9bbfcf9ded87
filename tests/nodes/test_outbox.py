"""The way out to one socket."""

import pytest
from tests.support.sockets import FakeTransport

from roomful_nodes import outbox as outbox_module
from roomful_nodes.outbox import LOW, Outbox, Stalled, framed
from roomful_protocol.codecs import JSON, MSGPACK
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


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_frames_of_every_length(transport: FakeTransport, size: int) -> None:
    transport.write(framed(b"x" * size, 2))
    transport.write(framed(b"y", 1))
    assert transport.payloads() == [(2, b"x" * size), (1, b"y")]


def test_frames_are_in_the_clients_codec(transport: FakeTransport) -> None:
    Outbox(transport, JSON, lambda: None).send(pong(1, 2))
    Outbox(transport, MSGPACK, lambda: None).show(b'{"type":"pong"}')
    assert [opcode for opcode, _ in transport.payloads()] == [1, 2]
    assert transport.frames() == [
        {"type": "pong", "id": 1, "data": {"time": 2}},
        {"type": "pong"},
    ]


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


async def test_waiting_ends_with_the_socket(outbox: Outbox, transport: FakeTransport) -> None:
    transport.waiting = LOW + 1
    outbox.shut()
    await outbox.drained()
    assert not outbox.open
