"""The load generator against a server that does no work: what it counts is what went through."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from roomful.bench import flood, said
from roomful.bench.crowd import Crowd, Ear, Line
from roomful.bench.flood import InTurn, Shape, gathered
from roomful.bench.paced import delays
from roomful.bench.processes import Server
from roomful.bench.subject import Bench
from roomful.bench.wire import Broken

EVENT = b'{"type":"chat.message","seq":1,"data":{"p":"^00000000xxxx"}}'


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(flood, "WARM_S", 0.05)
    return Bench(tmp_path, None)


@contextmanager
def answering(bench: Bench, answer: bytes, frames: said.Frames) -> Iterator[Server]:
    with bench.bare(answer, len(frames(1))) as server:
        yield server


def server_frame(payload: bytes) -> bytes:
    return bytes((0x81, len(payload))) + payload


# -- what is said and heard ------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [said.kept(), said.ephemeral(), said.raw(), said.acked()])
def test_every_message_is_a_frame_of_one_length_with_one_mark(frames: said.Frames) -> None:
    one, three = frames(1), frames(3)
    assert len(three) == 3 * len(one)
    assert three.count(said.MARK) == 3


def test_ids_are_never_said_twice() -> None:
    frames = said.acked()
    assert len({frames(1) for _ in range(5)} | {frames(1)}) == 6


@pytest.mark.parametrize("kept", [True, False])
def test_numbers_are_read_from_what_was_said(kept: bool) -> None:
    frames = said.numbered(kept=kept)
    assert [said.number_in(frames(number)) for number in (0, 7, 12_345)] == [0, 7, 12_345]
    assert (b'"ephemeral":true' in frames(7)) is not kept
    assert said.number_in(said.kept()(1)) is None


@pytest.mark.parametrize("mark", [b"^", b'"type":"ack"'])
def test_an_ear_finds_marks_wherever_the_stream_is_cut(mark: bytes) -> None:
    stream = (b"abc" + mark + b"de") * 5
    for length in range(1, len(stream)):
        ear = Ear(mark)
        for start in range(0, len(stream), length):
            piece = stream[start : start + length]
            # The buffer is longer than what has come, and full of what came before.
            ear.hear(bytearray(piece + mark), len(piece))
        assert (ear.messages, ear.size) == (5, len(stream))


# -- floods ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [Shape(6), Shape(6, 1, 3, 24), Shape(6, 2, 3, 6), Shape(6, 6, 1, 4, InTurn)],
)
def test_all_that_was_said_is_heard_by_all(bench: Bench, shape: Shape) -> None:
    frames, answer = said.kept(), server_frame(EVENT)
    with (
        answering(bench, answer, frames) as server,
        gathered(server.port, shape, frames, shape.paths()) as crowd,
    ):
        assert crowd.sample() == answer
        flow = crowd.run(0.2, server.pids)
    assert flow.messages > 0
    assert flow.deliveries == pytest.approx(flow.messages * shape.members / shape.rooms, rel=0.05)
    assert 0 < flow.load_busy <= 1
    assert flow.cpu_us("message").keys() == {"node_cpu_us_per_message"}


def test_what_stays_out_is_noticed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flood, "SILENT_S", 0.3)
    frames, shape = said.kept(), Shape(3, 1, 1, 8)
    # This server thinks that messages are longer than they are: it answers too few.
    with (
        bench.bare(server_frame(EVENT), len(frames(2))) as server,
        gathered(server.port, shape, frames, shape.paths()) as crowd,
        pytest.raises(Broken, match="then nothing came"),
    ):
        crowd.run(1.0)


def test_who_is_refused_is_told(bench: Bench) -> None:
    with bench.node() as node, Crowd.gathering() as crowd, pytest.raises(Broken, match="404"):
        crowd.enter(node.port, ["/nowhere"], b"joined")


# -- latencies -------------------------------------------------------------------------------------


def test_delays_are_told_from_bytes_alone() -> None:
    sockets = socket.socketpair()
    ann, bob = map(Line, sockets)
    one, two = (server_frame(b"^%08d" % number) for number in (0, 1))
    record, size, sent = one + two, len(one), [0.5, 0.9]
    heard = [
        (1.0, ann, size), (1.1, bob, size - 1), (1.2, bob, 1 + 3), (1.3, bob, size - 3),
        (1.4, ann, size),
    ]  # fmt: skip
    assert delays(heard, sent, record, range(2)) == pytest.approx([0.5, 0.7, 0.4, 0.5])
    assert delays(heard, sent, record, range(1, 2)) == pytest.approx([0.4, 0.5])
    for one_end in sockets:
        one_end.close()
