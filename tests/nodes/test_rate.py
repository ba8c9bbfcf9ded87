"""How much one client may ask of a node."""

from roomful_nodes.rate import BYTES, FLOOD, Credit, Rate


class Reader:
    """Writes down what it is told."""

    def __init__(self, told: list[str]) -> None:
        self._told = told

    def pause_reading(self) -> None:
        self._told.append("pause")

    def resume_reading(self) -> None:
        self._told.append("resume")


def test_a_burst_passes_and_then_the_rate() -> None:
    rate = Rate(8, 5, now=7)
    assert [rate.take(7) for _ in range(5)] == [0] * 5
    assert rate.take(7) == 125
    assert rate.take(7.125) == 0
    assert rate.take(7.125) > 0


def test_waiting_does_not_earn_more_than_a_burst() -> None:
    rate = Rate(10, 5, now=0)
    assert [rate.take(3600) > 0 for _ in range(6)] == [False] * 5 + [True]


def test_a_client_a_little_too_fast_is_refused_but_no_flood() -> None:
    rate = Rate(50, 100, now=0)
    for count in range(20_000):
        rate.take(count / 80)
    assert not rate.flooding


def test_a_client_that_goes_on_whatever_it_is_told_is_a_flood() -> None:
    rate = Rate(50, 100, now=0)
    for count in range(FLOOD * 100 + 200):
        rate.take(count / 100_000)
    assert rate.flooding


def test_who_asks_too_much_is_paused_until_half_is_answered() -> None:
    told: list[str] = []
    credit = Credit(Reader(told))
    for _ in range(8):
        credit.look()
        assert told == []
        credit.owed += BYTES // 8
    credit.look()
    assert told == ["pause"]
    for _ in range(4):
        assert told == ["pause"]
        credit.settle(BYTES // 8)
    assert told == ["pause", "resume"]
