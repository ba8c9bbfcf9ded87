"""The scenarios that need no tools in C, on a real node and a real broker, cut short."""

from pathlib import Path

import pytest

from roomful.bench.flood import InTurn, Shape
from roomful.bench.processes import Server, Unstarted, free_port
from roomful.bench.scenarios import (
    ack,
    catchup,
    drain,
    failover,
    fanout,
    handoff,
    paced,
    recovery,
    rooms,
    storm,
    workers,
)
from roomful.bench.subject import Bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    for module, name, value in (
        (ack, "WARM", 2), (ack, "SAMPLES", 20), (ack, "CEILING_SAMPLES", 20),
        (catchup, "MISSED", 1500), (catchup, "RETURNS", 2),
        (handoff, "ROOMS", 5), (handoff, "WARM_S", 0.2),
        (drain, "CLIENTS", 30), (drain, "WINDOW_S", 0.5),
        (recovery, "MISSED", 1500), (recovery, "CLIENTS", 5),
        (workers, "ROOMS", 8), (workers, "ON_THE_WAY", 4), (workers, "EVEN", 0),
        (storm, "CLIENTS", 60), (storm, "ROOMS", 5), (storm, "PER_S", 100),
        (failover, "KILLS", 1), (failover, "IDLE_ROOMS", 20), (failover, "ROOMS_EACH", 10),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr("roomful.bench.closed_loop.WARM_S", 0.1)
    return Bench(tmp_path, None, seconds=0.2)


def test_lone_messages_are_timed(bench: Bench) -> None:
    p50, p99 = ack.once(bench)
    assert 0 < p50.value <= p99.value
    assert p50.ceilings["JetStream append"] > 0
    assert p50.details["broker_cpu_us_per_message"] >= 0


def test_acks_of_one_and_of_many_rooms_are_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = {"hot": Shape(1, 1, 1, 10), "many": Shape(5, 5, 1, 10, InTurn)}
    monkeypatch.setattr(rooms, "SHAPES", shapes)
    hot, many = rooms.once(bench)
    assert (hot.figure, many.figure) == ("hot", "many")
    for reading in (hot, many):
        assert 0 < reading.value < reading.ceilings["bare"]
        assert reading.details["node_cpu_us_per_message"] > 0


def test_a_room_is_flooded_with_and_without_the_log(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "SHAPES", {"few": Shape(5, 1, 2, 8)})
    logged, passed = fanout.once(bench)
    assert (logged.figure, passed.figure) == ("few", "few, log off")
    for reading in (logged, passed):
        assert 0 < reading.value < reading.ceilings["bare"]
        assert reading.details["frame_bytes"] > 100


def test_every_delivery_at_a_steady_rate_is_timed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paced, "MEMBERS", Shape(5))
    monkeypatch.setattr(paced, "RATES", (1000,))
    p50, p99 = paced.once(bench)
    assert 0 < p50.value <= p99.value < 5000


def test_whoever_comes_back_has_everything(bench: Bench) -> None:
    warm, cold = catchup.once(bench)
    assert warm.value > 0
    assert cold.value > 0


def test_many_who_come_back_at_once_have_everything(bench: Bench) -> None:
    [everything] = recovery.once(bench)
    assert everything.value > 0
    assert everything.details["node_memory_grown_mb"] < 50


def test_clients_of_a_killed_node_come_back_and_disturb_nobody(bench: Bench) -> None:
    took, beside = storm.once(bench)
    assert 0 < took.value <= storm.BOUND_S
    assert 0 < beside.value <= storm.BESIDE_MS


def test_rooms_of_a_killed_node_answer_within_the_bound(bench: Bench) -> None:
    median, worst, among_many, woken = failover.once(bench)
    assert 0 < median.value == worst.value <= failover.BOUND_S
    assert 0 < among_many.value <= failover.BOUND_S
    assert 0 < woken.value <= failover.BOUND_S


def test_every_room_that_moves_has_a_hiccup(bench: Bench) -> None:
    p50, p99 = handoff.once(bench)
    assert 0 < p50.value <= p99.value
    assert p50.details["rooms"] == 5


def test_clients_are_sent_away_over_the_window(bench: Bench) -> None:
    [rate] = drain.once(bench)
    assert 0 < rate.value < 200
    assert 0.2 < rate.details["seconds"] < 3


def test_a_server_that_does_not_come_up_shows_its_log(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo no such luck; exit 3"]
    with (
        pytest.raises(Unstarted, match="no such luck"),
        Server.started(command, free_port(), tmp_path),
    ):
        pytest.fail("it did not start")


def test_one_worker_and_two_are_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "KINDS", {"thinking": "heavy"})
    [reading] = workers.once(bench)
    assert reading.figure == "two workers, thinking"
    assert reading.value > 0
    assert reading.ceilings["one worker"] > 0
    for part in ("node", "broker"):
        assert reading.details[f"two_{part}_cores"] > 0
    # Most of it is the handler's.
    assert reading.details["one_node_cpu_us"] > 300
