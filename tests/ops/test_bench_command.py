"""`roomful bench` as it is called: what it runs, refuses, keeps and says."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.command_line import Run, sentence

from roomful.bench import command, suite
from roomful.bench.measure import Reading
from roomful.bench.scenarios import SCENARIOS, Scenario
from roomful.bench.tools import Tools, Unusable
from roomful.bench.wire import Broken


def reading(value: float, busy: float | None = None) -> Reading:
    return Reading("acks", "per s", value, {"C": 10.0}, 0.0, {"cpu": value / 10}, busy=busy)


@pytest.fixture
def scenarios(monkeypatch: pytest.MonkeyPatch) -> dict[str, Scenario]:
    """Only one scenario, which needs nothing, and whatever else the test adds."""
    only = {"one": Scenario("nothing at all", lambda bench: iter([reading(7, 0.5)]))}
    for module in (command, suite):
        monkeypatch.setattr(module, "SCENARIOS", only)
    monkeypatch.setattr(suite, "_prepare", lambda: None)
    return only


@pytest.mark.usefixtures("scenarios")
def test_a_table_is_printed_and_json_kept(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    code, out, err = run("bench", "--repeats", "2", "--json", str(file))
    assert code == 0
    assert "acks" in out
    assert "less than 90% of its core" in out
    assert "one 2: acks: 7 per s" in err
    written = json.loads(file.read_text())
    assert written["machine"]["python"]
    (figure,) = written["figures"]
    assert (figure["figure"], figure["samples"]) == ("acks", [7, 7])
    assert figure["ceilings"] == {"C": {"value": 10, "ratio": 0.7}}


def test_two_results_are_shown_side_by_side(
    run: Run, tmp_path: Path, scenarios: dict[str, Scenario]
) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    assert run("bench", "--quick", "--json", str(before))[0] == 0
    scenarios["one"] = Scenario("", lambda bench: iter([reading(14)]))
    assert run("bench", "--quick", "--json", str(after))[0] == 0
    code, out, _ = run("bench", "--compare", str(before), str(after))
    assert code == 0
    assert re.search(r"acks +per s +7 +14 +\+100%", out)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["quidditch"], "There is no scenario quidditch; there are one."),
        (["--compare", "nowhere.json", "nowhere.json"], "nowhere.json cannot be read"),
        (["--tools", "nowhere"], "--tools nowhere: "),
        (["--json", "no/where.json"], "no/where.json cannot be written"),
        (["--plot", "no/where.svg"], "no/where.svg cannot be written"),
    ],
)
@pytest.mark.usefixtures("scenarios")
def test_what_cannot_be_done(run: Run, args: list[str], said: str) -> None:
    code, _, err = run("bench", *args)
    assert code == 1
    assert err.startswith(said)


def test_what_is_no_result_is_refused(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    file.write_text("[]")
    code, _, err = run("bench", "--compare", str(file), str(file))
    assert (code, sentence(err)) == (1, f"{file} was not written by roomful bench --json.")


def test_scenarios_are_listed(run: Run) -> None:
    code, out, _ = run("bench", "--list")
    assert code == 0
    assert all(name in out for name in SCENARIOS)


def test_an_attempt_that_fails_is_told_and_repeated(
    run: Run, scenarios: dict[str, Scenario]
) -> None:
    attempts: Iterator[Broken | Reading] = iter([Broken("bye"), reading(1), reading(2)])

    def once(_: object) -> Iterator[Reading]:
        attempt = next(attempts)
        if isinstance(attempt, Broken):
            raise attempt
        yield attempt

    scenarios["one"] = Scenario("", once)
    code, out, err = run("bench", "--repeats", "2")
    assert code == 0
    assert "bye" in err
    assert "1.5" in out


def test_what_could_not_be_measured_at_all_is_named(
    run: Run, scenarios: dict[str, Scenario]
) -> None:
    def once(_: object) -> Iterator[Reading]:
        raise TimeoutError

    scenarios["two"] = Scenario("", once)
    code, out, err = run("bench", "--repeats", "1")
    assert code == 1
    assert "acks" in out
    assert "two 2: TimeoutError()" in err
    assert err.splitlines()[-1] == "Not measured: two."


def test_a_scenario_that_never_ran_to_its_end_is_named(
    run: Run, scenarios: dict[str, Scenario]
) -> None:
    def once(_: object) -> Iterator[Reading]:
        yield Reading("half", "per s", 3, stalled=True)
        raise Broken("the other half is missing")

    scenarios["two"] = Scenario("", once)
    code, out, err = run("bench", "--repeats", "1")
    assert code == 1
    assert "half" in out
    assert "it stalled" in out
    assert err.splitlines()[-1] == "Not measured: two."


def test_what_was_measured_before_an_interrupt_is_kept(
    run: Run, scenarios: dict[str, Scenario]
) -> None:
    def once(_: object) -> Iterator[Reading]:
        yield Reading("half", "per s", 3)
        raise KeyboardInterrupt

    scenarios["two"] = scenarios["three"] = Scenario("", once)
    code, out, err = run("bench", "--quick")
    assert code == 1
    assert "acks" in out
    assert "half" in out
    assert err.splitlines()[-1] == "Not measured: two, three."


def test_tools_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"cfan\.c"):
        Tools.compiled(tmp_path / "nowhere", tmp_path)
