"""Events that go into a socket past its transport: when they may, and that order is kept."""

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from errno import ENOBUFS
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from tests.support.sockets import FakeTransport, Member, entry, frames_in

from roomful_nodes import fanout as fanout_module
from roomful_nodes.fanout import Fanout
from roomful_nodes.metrics import Metrics
from roomful_nodes.outbox import Outbox
from roomful_nodes.websocket import plain_fd
from roomful_protocol.codecs import JSON
from roomful_protocol.frames import pong

SOME: Final = 64 * 1024


class Ends:
    """A member whose socket is one, and the client's end of it."""

    def __init__(self, session: str, made: socket.socket, client: socket.socket) -> None:
        self.member = Member(session, fd=made.fileno())
        self.made, self.client = made, client

    def read(self, limit: int = 1 << 24) -> bytes:
        """All that has come."""
        found = b""
        try:
            while len(found) < limit and (data := self.client.recv(SOME)):
                found += data
        except BlockingIOError:
            pass
        return found


@pytest.fixture
def ends() -> Iterator[list[Ends]]:
    made = [(*socket.socketpair(), name) for name in "ab"]
    for one, other, _ in made:
        one.setblocking(False)
        other.setblocking(False)
    yield [Ends(name, one, other) for one, other, name in made]
    for one, other, _ in made:
        one.close()
        other.close()


@pytest.fixture
async def fanout(ends: list[Ends], monkeypatch: pytest.MonkeyPatch) -> Fanout:
    """Of both, each of whom has heard the first event, and is looked at before each further one."""
    monkeypatch.setattr(fanout_module, "INSPECT_S", 0.0)
    monkeypatch.setattr(fanout_module, "LEAST_BYTES", 0)
    made = Fanout(asyncio.get_running_loop(), Metrics(CollectorRegistry()))
    for one in ends:
        made.add(one.member, 0)
    tell(made, 1)
    return made


def tell(fanout: Fanout, seq: int, text: str = "hi") -> None:
    fanout.push([entry(seq, text=text)])
    fanout.flush()


async def test_who_has_nothing_waiting_is_written_to_straight(
    fanout: Fanout, ends: list[Ends]
) -> None:
    tell(fanout, 2)
    for one in ends:
        assert b'"seq":2' in one.read()
        assert one.member.transport.written == []


async def test_what_waits_in_the_transport_comes_first(fanout: Fanout, ends: list[Ends]) -> None:
    ann, bob = ends
    ann.member.transport.waiting = 1
    tell(fanout, 2)
    assert ann.member.seqs == [2]
    assert ann.read().count(b'"seq"') == 1, "only the one before"
    assert bob.read().count(b'"seq"') == 2
    ann.member.transport.waiting = 0
    tell(fanout, 3)
    assert ann.member.seqs == [2]
    assert b'"seq":3' in ann.read()


async def test_who_was_answered_is_looked_at_again_first(
    fanout: Fanout, ends: list[Ends], monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = ends
    tell(fanout, 2)
    monkeypatch.setattr(fanout_module, "INSPECT_S", 3600.0)
    tell(fanout, 3)
    ann.member.outbox.send(pong(1, 2))
    tell(fanout, 4)
    assert [frame["type"] for frame in ann.member.frames] == ["pong", "chat.message"]
    assert bob.member.frames == []
    assert bob.read().count(b'"seq"') == 4


async def test_what_the_kernel_does_not_take_goes_on_in_the_transport(
    fanout: Fanout, ends: list[Ends]
) -> None:
    ann, bob = ends
    heard, seq = bob.read(), 1
    while not ann.member.transport.written:
        seq += 1
        tell(fanout, seq, "x" * SOME)
        heard += bob.read()
    cut = ann.read() + b"".join(ann.member.transport.written)
    assert cut == heard
    assert len(frames_in(cut)) == seq


async def test_a_socket_that_was_full_is_filled_no_further(
    fanout: Fanout, ends: list[Ends]
) -> None:
    ann = ends[0]
    with suppress(BlockingIOError):
        while ann.made.send(b"x" * SOME):
            pass
    tell(fanout, 2)
    assert ann.member.seqs == [2]
    assert not ann.member.outbox.clear


@pytest.mark.parametrize("looked_at", [False, True], ids=["between looks", "looked at in between"])
async def test_answers_that_gather_come_into_the_middle_of_no_frame(
    fanout: Fanout, ends: list[Ends], monkeypatch: pytest.MonkeyPatch, looked_at: bool
) -> None:
    ann = ends[0]
    tell(fanout, 2)
    assert ann.member.outbox.clear
    monkeypatch.setattr(fanout_module, "INSPECT_S", 0.0 if looked_at else 3600.0)
    monkeypatch.setattr(fanout_module, "write", lambda fd, data: os.write(fd, data[:9]))
    ann.member.outbox.gather(b'{"type":"ack"}')
    tell(fanout, 3)
    await asyncio.sleep(0)
    heard = ann.read() + b"".join(ann.member.transport.written)
    assert [b'"ack"' in payload for _, payload in frames_in(heard)].count(True) == 1
    assert len(frames_in(heard)) == 4


async def test_who_has_hung_up_is_left_to_its_transport_and_others_hear_it(
    fanout: Fanout, ends: list[Ends]
) -> None:
    ends[0].client.close()
    tell(fanout, 2)
    assert ends[0].member.seqs == [2]
    assert b'"seq":2' in ends[1].read()
    ends[0].member.transport.broken = True
    tell(fanout, 3)
    tell(fanout, 4)
    assert len(fanout) == 1
    assert ends[1].read().count(b'"seq"') == 2


async def test_an_event_that_the_kernel_has_no_memory_for_is_not_lost(
    fanout: Fanout, ends: list[Ends], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(_fd: int, _data: bytes) -> int:
        raise OSError(ENOBUFS, "No buffer space available")

    monkeypatch.setattr(fanout_module, "write", write)
    tell(fanout, 2)
    assert [one.member.seqs for one in ends] == [[2], [2]]
    assert len(fanout) == 2


async def test_a_number_that_another_socket_may_have_by_now_is_not_written_to(
    fanout: Fanout, ends: list[Ends]
) -> None:
    ann = ends[0]
    tell(fanout, 2)
    ann.read()
    assert ann.member.outbox.clear
    ann.member.outbox.shut()
    for seq in (3, 4):
        tell(fanout, seq)
    assert ann.read() == b""


@pytest.mark.parametrize(
    ("known", "straight"),
    [({"socket": True}, True), ({"socket": True, "sslcontext": object()}, False), ({}, False)],
    ids=["in clear", "encrypted", "no socket"],
)
async def test_only_a_socket_in_clear_is_known_by_its_number(
    ends: list[Ends], known: dict[str, object], straight: bool
) -> None:
    made = ends[0].made
    extra = known | ({"socket": made} if "socket" in known else {})
    assert plain_fd(asyncio.Transport(extra)) == (made.fileno() if straight else -1)


async def test_what_several_rooms_say_to_one_the_transport_may_join(
    fanout: Fanout, ends: list[Ends]
) -> None:
    ann, bob = ends
    other = Fanout(asyncio.get_running_loop(), Metrics(CollectorRegistry()))
    other.add(ann.member, 0)
    for seq in (2, 3):
        tell(fanout, seq)
    assert ann.member.seqs == [2, 3]
    assert bob.member.seqs == []
    other.remove(ann.member)
    tell(fanout, 4)
    assert ann.member.seqs == [2, 3]
    assert b'"seq":4' in ann.read()


class Buffered(FakeTransport):
    """It sends what was written to it when it is told to, as far as `made` takes it."""

    def __init__(self, made: socket.socket) -> None:
        super().__init__()
        self.made, self.buffer = made, b""

    def write(self, data: bytes, /) -> None:
        self.buffer += data

    def get_write_buffer_size(self) -> int:
        return len(self.buffer)

    def send(self, at_most: int) -> None:
        with suppress(BlockingIOError):
            self.buffer = self.buffer[self.made.send(self.buffer[:at_most]) :]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["event", "event", "ack", "send", "look", "pong", "turn"]),
        st.sampled_from([0, 50, 999, 999]),
    ),
    max_size=30,
)
"""What is done, and how much of it the kernel takes."""


@settings(max_examples=300)
@given(STEPS)
def test_whatever_is_written_in_whatever_way_arrives_whole_and_in_order(
    steps: list[tuple[str, int]],
) -> None:
    async def run(made: socket.socket) -> None:
        taken = 0

        def write(fd: int, data: bytes) -> int:
            if not taken:
                raise BlockingIOError
            return os.write(fd, data[:taken])

        patch.setattr(fanout_module, "write", write)
        fanout = Fanout(asyncio.get_running_loop(), Metrics(CollectorRegistry()))
        member, transport = Member("a"), Buffered(made)
        member.outbox = outbox = Outbox(transport, JSON, lambda: None, lambda _: made.fileno())
        fanout.add(member, 0)
        for number, (step, taken) in enumerate(steps, 1):
            match step:
                case "event":
                    tell(fanout, number)
                case "ack":
                    outbox.gather(b'{"type":"ack","id":%d}' % number)
                case "pong":
                    outbox.send(pong(number, 2))
                case "send":
                    transport.send(taken)
                case "turn":
                    await asyncio.sleep(0)
                case _:
                    outbox.look()
        await asyncio.sleep(0)
        transport.send(1 << 24)

    one, other = socket.socketpair()
    with one, other, pytest.MonkeyPatch.context() as patch:
        one.setblocking(False)
        asyncio.run(run(one))
        one.shutdown(socket.SHUT_WR)
        heard = [json.loads(payload) for _, payload in frames_in(other.recv(1 << 20))]
    for step, kind, key in (
        ("event", "chat.message", "seq"),
        ("ack", "ack", "id"),
        ("pong", "pong", "id"),
    ):
        told = [number for number, (said, _) in enumerate(steps, 1) if said == step]
        assert [frame[key] for frame in heard if frame["type"] == kind] == told
