"""How much one client may ask of a node."""

from roomful_nodes.rate import FLOOD, Credit, Rate


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_passes_and_then_the_rate() -> None:
    time = Time()
    rate = Rate(10, 5, time)
    assert [rate.take() for _ in range(5)] == [0] * 5
    assert rate.take() == 100
    time.now += 0.1
    assert rate.take() == 0
    assert rate.take() > 0


def test_waiting_does_not_earn_more_than_a_burst() -> None:
    time = Time()
    rate = Rate(10, 5, time)
    time.now += 3600
    assert [rate.take() > 0 for _ in range(6)] == [False] * 5 + [True]


def test_a_client_a_little_too_fast_is_refused_but_no_flood() -> None:
    time = Time()
    rate = Rate(50, 100, time)
    for _ in range(20_000):
        time.now += 1 / 80
        rate.take()
    assert not rate.flooding


def test_a_client_that_goes_on_whatever_it_is_told_is_a_flood() -> None:
    time = Time()
    rate = Rate(50, 100, time)
    for _ in range(FLOOD * 100 + 200):
        time.now += 1 / 100_000
        rate.take()
    assert rate.flooding


def test_who_asks_too_much_is_paused_until_half_is_answered() -> None:
    told: list[str] = []
    credit = Credit(lambda: told.append("pause"), lambda: told.append("resume"))
    for _ in range(Credit.ASKS):
        credit.owe(10)
    assert told == ["pause"]
    for _ in range(Credit.ASKS // 2):
        assert told == ["pause"]
        credit.settle(10)
    assert told == ["pause", "resume"]


def test_who_asks_with_too_much_is_paused_too() -> None:
    told: list[str] = []
    credit = Credit(lambda: told.append("pause"), lambda: told.append("resume"))
    credit.owe(Credit.BYTES)
    assert told == ["pause"]
    credit.settle(Credit.BYTES)
    assert told == ["pause", "resume"]
