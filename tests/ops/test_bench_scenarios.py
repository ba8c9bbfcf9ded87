"""The scenarios on a real node and a real broker, cut short.

Most share one node. What takes long is left to real runs: failover, hand-off, drain and storm go
ways that the cluster's tests go, too.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.command_line import Run

from roomful.bench import command, suite
from roomful.bench.flood import Shape
from roomful.bench.processes import SERVER_CORE, Server, Unstarted, free_port
from roomful.bench.scenarios import (
    ack,
    catchup,
    churn,
    fanout,
    growth,
    idle,
    inbound,
    paced,
    recovery,
    targeted,
    workers,
)
from roomful.bench.subject import Bench
from roomful.bench.wire import Broken

SECONDS = 0.2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The node that is shared."""
    folder = tmp_path_factory.mktemp("shared")
    with Bench(folder, None).node(None, "--heartbeat-s", "3600", "--grace-s", "0.2") as node:
        yield node


@dataclass(frozen=True, slots=True)
class Shared(Bench):
    """Does not start a node, whatever it is to be like, but has one."""

    server: Server | None = None

    @contextmanager
    def node(
        self, folder: Path | None = None, *flags: str, cores: Sequence[int] = (SERVER_CORE,)
    ) -> Iterator[Server]:
        assert self.server is not None
        yield self.server


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has to be warm or evenly spread, or to be watched for long."""
    for name in ("closed_loop", "flood", "hose", "paced"):
        monkeypatch.setattr(f"roomful.bench.{name}.WARM_S", 0.05)
    monkeypatch.setattr("roomful.bench.sharing.EVEN", 0)


@pytest.fixture
def shared(tmp_path: Path, server: Server) -> Bench:
    return Shared(tmp_path, None, SECONDS, server)


@pytest.fixture
def fresh(tmp_path: Path) -> Bench:
    return Bench(tmp_path, None, SECONDS)


def test_the_command_measures_a_flood_with_and_without_the_log(
    shared: Bench, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "SHAPES", {"few": Shape(5, 1, 2, 8)})
    monkeypatch.setattr(command, "Bench", lambda *_: shared)
    monkeypatch.setattr(suite, "_prepare", lambda: None)
    code, out, err = run("bench", "fanout", "--repeats", "1")
    assert code == 0
    assert "few, log off" in out
    assert "node_cpu_us_per_delivery" in out
    assert "fanout 1: few: " in err


def test_lone_messages_are_timed(shared: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WARM": 2, "SAMPLES": 20, "CEILING_SAMPLES": 20}.items():
        monkeypatch.setattr(ack, name, value)
    p50, p99 = ack.once(shared)
    assert 0 < p50.value <= p99.value
    assert p50.ceilings["JetStream append"] > 0
    assert p50.details["broker_cpu_us_per_message"] >= 0


def test_every_delivery_at_a_steady_rate_is_timed(
    shared: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paced, "MEMBERS", Shape(5))
    monkeypatch.setattr(paced, "RATES", {1000: {"bound": 5000.0}})
    readings = list(paced.once(shared))
    named = {f"1,000 deliveries/s{log}, {p}" for log in ("", ", log off") for p in ("p50", "p99")}
    assert {reading.figure for reading in readings} == named
    for p50, p99 in (readings[:2], readings[2:]):
        assert 0 < p50.value <= p99.value < p99.ceilings["bound"]
        assert 0 < p50.ceilings["bare"] <= p99.ceilings["bare"]
        assert p99.details["node_cores"] >= 0
        assert p99.details["bare_cores"] >= 0


def test_those_who_only_listen_are_weighed(fresh: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "CONNECTIONS", 50)
    monkeypatch.setattr(idle, "HEARTBEAT_S", 1.0)
    handshakes, memory, heartbeats = idle.once(fresh)
    assert handshakes.value > 0
    assert memory.unit == "kB"
    # Of one core, which is watched for a quarter longer than a heartbeat.
    assert 0 < heartbeats.value < 1.5
    assert heartbeats.details["pings"] >= 50


def test_who_is_not_pinged_is_no_heartbeat(shared: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "CONNECTIONS", 10)
    monkeypatch.setattr(idle, "HEARTBEAT_S", 0.1)
    with pytest.raises(Broken, match="of 10 clients 0"):
        list(idle.once(shared))


def test_who_comes_and_goes_is_weighed(shared: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ONE_WAVE": 10, "WARM_WAVES": 1, "WAVES": 2, "GRACE_S": 0.2}.items():
        monkeypatch.setattr(churn, name, value)
    [memory] = churn.once(shared)
    assert 0.5 < memory.value < 2
    assert "20 more" in memory.figure


def test_growth_is_a_point_for_each_size(shared: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MEMBERS": (20,),
        "ROOMS": (3,),
        "NODES": (1,),
        "OVER_NODES": 16,
    }.items():
        monkeypatch.setattr(growth, name, value)
    found = [reading.figure for reading in growth.once(shared)]
    assert found == [
        "growth, members of a room, log on: 20",
        "growth, members of a room, log off: 20",
        "growth, rooms of one member: 3",
        "growth, nodes, the same crowd: 1",
        "growth, nodes, a crowd on each: 1",
    ]


def test_whoever_comes_back_has_everything(shared: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catchup, "MISSED", 1500)
    monkeypatch.setattr(catchup, "RETURNS", 2)
    warm, cold = catchup.once(shared)
    assert warm.value > 0
    assert cold.value > 0


def test_many_who_come_back_at_once_have_everything(
    shared: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catchup, "MISSED", 1500)
    monkeypatch.setattr(recovery, "MISSED", 1500)
    monkeypatch.setattr(recovery, "CLIENTS", 5)
    [everything] = recovery.once(shared)
    assert everything.value > 0
    assert everything.details["node_memory_grown_mb"] < 50


def test_what_is_poured_in_is_taken(fresh: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbound, "CLIENTS", Shape(1))
    [taken] = inbound.once(fresh)
    assert taken.value > 0
    assert taken.details["node_cpu_us_per_message"] > 0


def test_a_user_of_another_node_is_reached(fresh: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targeted, "BYSTANDERS", (1,))
    to_session, among_more = targeted.once(fresh)
    assert to_session.value > 0
    assert to_session.details["bystanders_cores"] == 0
    assert among_more.figure == "to a user on another node, among 1 more"
    # Nobody tells it anything: so it costs less than those who are told.
    two = among_more.details["node_cpu_us_per_message"] * among_more.value / 1e6
    assert 0 <= among_more.details["bystanders_cores"] < two


def test_one_worker_and_two_are_counted(fresh: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ROOMS": 8, "ON_THE_WAY": 4}.items():
        monkeypatch.setattr(workers, name, value)
    monkeypatch.setattr(workers, "KINDS", {"thinking": "heavy"})
    [reading] = workers.once(fresh)
    assert reading.figure == "two workers, thinking"
    assert reading.value > 0
    assert reading.ceilings["one worker"] > 0
    for part in ("node", "broker"):
        assert reading.details[f"two_{part}_cores"] > 0
    # Most of it is the handler's.
    assert reading.details["one_node_cpu_us"] > 300


def test_a_node_and_its_broker_are_ahead_of_others_alike(server: Server) -> None:
    groups = [Path(f"/proc/{pid}/autogroup") for pid in server.pids]
    if os.geteuid() or not groups[0].exists():
        pytest.skip("nothing is put ahead here")
    assert len(groups) == 2
    assert [group.read_text().split()[-1] for group in groups] == ["-15", "-15"]


def test_a_server_that_does_not_come_up_shows_its_log(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo no such luck; exit 3"]
    with (
        pytest.raises(Unstarted, match="no such luck"),
        Server.started(command, free_port(), tmp_path),
    ):
        pytest.fail("it did not start")
