"""What a partition costs: members and messages, smoothed."""

import pytest

from roomful_rooms.costs import SMOOTH_S, Costs, Loaded

LONG_S = 20 * SMOOTH_S


def run(costs: Costs, start: float, seconds: float, *, members: int, per_s: float) -> None:
    """Measure a room of partition 3 every 5 s, as it fills."""
    for step in range(int(seconds / 5) + 1):
        head = int(start * per_s + step * 5 * per_s)
        costs.look([Loaded("lobby", 3, members, head)], start + 5 * step)


def test_an_empty_partition_costs_one() -> None:
    costs = Costs()
    costs.expect(3, 1.0)
    costs.look([], 100)
    costs.look([], 200)
    assert costs.now == {3: 1.0}


def test_members_and_messages_count() -> None:
    costs = Costs()
    costs.expect(3, 1.0)
    run(costs, 0, LONG_S, members=50, per_s=4)
    assert costs.now == {3: pytest.approx(1 + 5 + 4, rel=0.01)}


def test_a_short_rush_hardly_counts() -> None:
    costs = Costs()
    costs.expect(3, 1.0)
    run(costs, 0, 100, members=0, per_s=1)
    before = costs.now[3]
    costs.look([Loaded("lobby", 3, 0, 200)], 105)
    assert costs.now[3] - before < 4


def test_what_comes_from_elsewhere_costs_what_it_did_there_until_it_is_known_better() -> None:
    costs = Costs()
    costs.expect(3, 40.0)
    costs.look([Loaded("lobby", 3, 0, 10_000)], 1000)
    assert costs.now[3] == 40.0
    costs.look([Loaded("lobby", 3, 0, 10_000)], 1005)
    assert 30 < costs.now[3] < 40
    run(costs, 1010, LONG_S, members=0, per_s=0)
    assert costs.now[3] == pytest.approx(1, abs=0.1)


def test_the_past_of_a_room_that_is_opened_is_no_work() -> None:
    costs = Costs()
    costs.expect(3, 1.0)
    costs.look([], 0)
    costs.look([Loaded("lobby", 3, 0, 1_000_000)], 5)
    assert costs.now[3] == pytest.approx(1)


def test_what_is_not_here_is_not_counted() -> None:
    costs = Costs()
    costs.expect(3, 5.0)
    costs.forget(3)
    costs.forget(3)
    costs.look([Loaded("lobby", 3, 10, 10)], 0)
    assert costs.now == {}
