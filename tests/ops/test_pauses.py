"""Pauses grow while something keeps ending, and begin anew after it has run for long."""

from roomful.pauses import Pauses


def test_they_grow_up_to_the_longest() -> None:
    pauses = Pauses(0.1, 1.0, steady_s=60)
    assert [pauses.after(0) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_what_has_run_for_long_begins_anew() -> None:
    pauses = Pauses(0.1, 1.0, steady_s=60)
    assert [pauses.after(ran_s) for ran_s in (0, 59, 61, 0)] == [0.1, 0.2, 0.1, 0.2]
