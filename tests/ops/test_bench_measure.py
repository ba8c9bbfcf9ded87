"""What the bench makes of its readings."""

import pytest

from roomful.bench import report
from roomful.bench.compare import compared
from roomful.bench.measure import Figure, Reading, figures, settled


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
    [both] = figures([stalled, loud], 2)
    assert both.stalled
    assert not figures([loud], 1)[0].stalled


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


def test_a_server_that_was_not_busy_may_not_have_been_what_was_measured() -> None:
    idle, busy = (Reading("acks", "per s", 1, busy=part) for part in (0.7, 0.99))
    assert [figures([one], 1)[0].saturated for one in (idle, busy, reading(1))] == [
        False,
        True,
        True,
    ]


def test_a_figure_comes_back_from_json() -> None:
    (figure,) = figures([reading(1, 10), reading(4, 8)], 2)
    assert Figure.of_json(figure.as_json()) == figure


def test_changes_are_told_from_what_repeats_differ_by() -> None:
    def result(*values: float) -> list[Figure]:
        return figures([reading(value) for value in values], len(values))

    steady, much = result(100, 100), result(150, 151)
    value, ratio, cpu = compared(steady, much)
    assert (value.what, value.before, value.after) == ("per s", 100, 150.5)
    assert value.part == pytest.approx(0.505)
    assert (ratio.what, cpu.what) == ("/ C", "cpu")
    assert value.sure
    assert not any(change.sure for change in compared(steady, result(101, 102)))
    assert not any(change.sure for change in compared(result(80, 120), result(120, 121)))
    assert not any(change.sure for change in compared(result(1), result(2)))
    assert compared([], much) == []
