"""Whole clusters in virtual time: whatever goes wrong, what is promised holds.

Play more of them, or one that has failed, by hand:

    ROOMFUL_SEEDS=0:2000 pytest tests/simulation/test_histories.py -k promised
    ROOMFUL_SEEDS=1234 pytest tests/simulation/test_histories.py -k promised
"""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from tests.simulation import mutants
from tests.simulation.histories import simulate
from tests.simulation.timeline import Loop, Timeline

ROOT = Path(__file__).parents[2]
DEFAULT = "0:60"


def seeds() -> range:
    first, _, end = os.environ.get("ROOMFUL_SEEDS", DEFAULT).partition(":")
    return range(int(first), int(end) if end else int(first) + 1)


played = cache(simulate)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", seeds())
def test_what_is_promised_holds(seed: int) -> None:
    told = played(seed)
    problems = "\n".join(told.problems[:20])
    assert not problems, f"{problems}\n\nAgain: ROOMFUL_SEEDS={seed} pytest {__file__}"
    assert told.counts["acked"] > 10


@pytest.mark.timeout(0)
@pytest.mark.parametrize("seed", range(6))
def test_without_loss_all_is_heard_though_no_beacon_tells(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beacons find what was missed: so they hide it if a node does not listen when it should."""
    mutants.no_beacons(monkeypatch)
    problems = "\n".join(simulate(seed).problems[:20])
    assert not problems, problems


def test_much_goes_wrong_and_much_is_said() -> None:
    """A history in which nothing happens proves nothing."""
    counts = [played(seed).counts for seed in range(10)]
    total = {key: sum(one[key] for one in counts) for key in counts[0]}
    assert total["acked"] > 500, total
    assert total["retried"] > 20, total
    assert total["duplicates"] > 5, total
    assert total["connections"] > total["sessions"] + 25, total
    assert total["writers"] > total["rooms"] + 20, total


def test_a_seed_is_one_history() -> None:
    assert simulate(3).digest == played(3).digest != played(4).digest


def test_a_seed_is_the_same_history_in_another_process() -> None:
    """Nothing hangs on how the interpreter arranges what is in memory."""
    code = "from tests.simulation.histories import simulate; print(simulate(5).digest)"
    path = [str(ROOT / folder) for folder in ("protocol", "rooms", "nodes", "ops", ".")]
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONHASHSEED": hash_seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }  # fmt: skip
    assert found == {played(5).digest + "\n"}


def test_a_paused_loop_finds_out_when_it_looks() -> None:
    timeline = Timeline(0)
    loop, other = Loop(timeline, "n1"), Loop(timeline, "n2")  # type: ignore[abstract]
    rung: list[tuple[str, float]] = []
    for one in (loop, other):
        one.call_later(1, lambda one=one: rung.append((one.name, one.time())))  # type: ignore[misc]
    start = timeline.now
    loop.pause(5)
    timeline.run(0.5)
    loop.call_soon(lambda: rung.append(("soon", loop.time())))
    timeline.run(10)
    assert rung == [
        ("n2", start + 1),
        ("soon", pytest.approx(start + 5.05, abs=0.06)),
        ("n1", pytest.approx(start + 5.05, abs=0.06)),
    ]


def test_a_stopped_loop_does_nothing_any_more() -> None:
    timeline = Timeline(0)
    loop = Loop(timeline, "n1")  # type: ignore[abstract]
    rung: list[str] = []
    loop.call_later(1, rung.append, "timer")
    loop.interrupt(loop.end, after=1)
    for word in ("first", "second"):
        loop.call_soon(rung.append, word)
    timeline.run(10)
    assert rung == ["first"]
