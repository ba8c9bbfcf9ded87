"""What the benchmarks make of their readings, and what their command says."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import main, report
from bench.measure import Reading, figures, settled
from bench.scenarios import SCENARIOS, Scenario
from bench.tools import Tools, Unusable
from bench.wire import Broken


def reading(value: float, ceiling: float = 10.0, foreign: float = 0.0) -> Reading:
    return Reading("acks", "per s", value, {"C": ceiling}, foreign, {"cpu": value / 10})


def test_a_figure_is_the_median_of_its_repeats() -> None:
    (figure,) = figures([reading(1, 10), reading(4, 8), reading(3, 10)], 3)
    assert (figure.value, figure.samples) == (3, (1, 4, 3))
    assert figure.spread == 1.0
    assert figure.details == {"cpu": pytest.approx(0.3)}


def test_a_ratio_is_taken_repeat_by_repeat() -> None:
    # 2/4, 3/30, 9/10: the median of the ratios, not the ratio of the medians.
    (figure,) = figures([reading(2, 4), reading(3, 30), reading(9, 10)], 3)
    assert figure.ceilings["C"].value == 10
    assert figure.ceilings["C"].ratio == pytest.approx(0.5)


def test_noisy_repeats_are_left_out_once_there_are_enough_quiet_ones() -> None:
    quiet, loud = [reading(2), reading(2), reading(3)], reading(100, foreign=0.5)
    assert settled([loud, *quiet], 3)
    (figure,) = figures([loud, *quiet], 3)
    assert figure.samples == (2, 2, 3)


def test_without_enough_quiet_repeats_the_quietest_count_and_it_is_said() -> None:
    readings = [reading(5, foreign=0.9), reading(2, foreign=0.2), reading(3, foreign=0.3)]
    assert not settled(readings, 2)
    (figure,) = figures(readings, 2)
    assert figure.samples == (2, 3)
    assert figure.foreign == 0.3


def test_a_repeat_in_which_nothing_went_on_for_a_moment_counts_last() -> None:
    stalled = Reading("acks", "per s", 1, {"C": 10.0}, 0.0, {"cpu": 1.0}, stalled=True)
    loud = reading(5, foreign=0.9)
    assert not settled([stalled, stalled], 1)
    assert figures([stalled, loud], 1)[0].samples == (5,)


def test_every_figure_needs_its_repeats() -> None:
    other = Reading("handshakes", "per s", 1)
    assert not settled([reading(1), reading(1), other], 2)
    assert settled([reading(1), reading(1), other, other], 2)
    assert not settled([], 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1234, "0.123"), (28.94, "28.9"), (999.4, "999"),
     (1234.5, "1,230"), (5_712_345, "5,710,000")],
)  # fmt: skip
def test_three_digits_are_shown(value: float, text: str) -> None:
    assert report.shown(value) == text


@pytest.fixture
def scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only one scenario, that needs nothing."""
    once = Scenario("nothing at all", lambda bench: iter([reading(7)]))
    monkeypatch.setattr(main, "SCENARIOS", {"one": once})
    monkeypatch.setattr(main, "_take_own_core", lambda: None)


@pytest.mark.usefixtures("scenario")
def test_the_command_prints_a_table_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    assert main.main(["--repeats", "2", "--json", str(file)]) == 0
    assert "acks" in capsys.readouterr().out
    written = json.loads(file.read_text())
    assert written["machine"]["python"]
    (figure,) = written["figures"]
    assert (figure["figure"], figure["samples"]) == ("acks", [7, 7])
    assert figure["ceilings"] == {"C": {"value": 10, "ratio": 0.7}}


@pytest.mark.usefixtures("scenario")
def test_what_needs_the_tools_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "SCENARIOS", {"fanout": SCENARIOS["fanout"]})
    assert main.main([]) == 1
    assert "--tools" in capsys.readouterr().out


def test_an_attempt_that_fails_is_told_and_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    attempts: Iterator[Broken | Reading] = iter([Broken("bye"), reading(1), reading(2)])

    def once(_: object) -> Iterator[Reading]:
        attempt = next(attempts)
        if isinstance(attempt, Broken):
            raise attempt
        yield attempt

    monkeypatch.setattr(main, "SCENARIOS", {"one": Scenario("", once)})
    monkeypatch.setattr(main, "_take_own_core", lambda: None)
    assert main.main(["--repeats", "2"]) == 0
    said = capsys.readouterr().out
    assert "bye" in said
    assert "1.5" in said


def test_tools_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match=r"wsload\.c"):
        Tools.compiled(tmp_path / "nowhere", tmp_path)
