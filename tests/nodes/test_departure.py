"""How clients are sent away: evenly over the window, never faster than others take them in."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

from structlog.testing import capture_logs
from tests.support.virtual_time import clock, soon, until, virtual

from roomful_nodes.departure import JITTER_MS, STEP_S, Departure
from roomful_nodes.outbox import CLOSE_S
from roomful_protocol.errors import DRAIN, Close


class Client:
    """Closes a moment after it was asked, unless it is `deaf`."""

    def __init__(self, crowd: "Crowd", *, deaf: bool = False) -> None:
        self.outbox: Any = SimpleNamespace(open=True)
        self._crowd, self._deaf = crowd, deaf

    def end(self, close: Close, *, delay_ms: tuple[int, int]) -> None:
        assert self.outbox.open, "asked twice"
        assert close is DRAIN
        self.outbox.open = False
        loop = asyncio.get_running_loop()
        self._crowd.asked.append((loop.time(), delay_ms))
        if not self._deaf:
            loop.call_later(0.01, self.vanish)

    def vanish(self) -> None:
        self.outbox.open = False
        self._crowd.lines.discard(self)
        self._crowd.departure.gone()


class Crowd:
    """The clients of one node; `asked` says when each was asked to leave, and what it was told."""

    def __init__(self, count: int, pace: Callable[[], float] = lambda: 1e6) -> None:
        self.lines: set[Client] = {Client(self) for _ in range(count)}
        self.asked: list[tuple[float, tuple[int, int]]] = []
        self.started = asyncio.get_running_loop().time()
        self.departure = Departure(cast("Any", self.lines), pace=pace, clock=clock())

    @property
    def moments(self) -> list[float]:
        return [at - self.started for at, _ in self.asked]


@virtual
async def test_clients_leave_evenly_over_the_window() -> None:
    crowd = Crowd(300)
    await crowd.departure.run(30)
    assert len(crowd.asked) == 300
    assert 29 <= crowd.moments[-1] <= 30
    by_second = [sum(int(moment) == second for moment in crowd.moments) for second in range(30)]
    assert all(8 <= count <= 12 for count in by_second)
    assert {told for _, told in crowd.asked} == {(0, JITTER_MS)}


@virtual
async def test_few_clients_do_not_wait_for_the_end_of_the_window() -> None:
    crowd = Crowd(1)
    await crowd.departure.run(30)
    assert asyncio.get_running_loop().time() - crowd.started < 1


@virtual
async def test_nobody_to_send_away_takes_no_time() -> None:
    crowd = Crowd(0)
    await crowd.departure.run(30)
    assert asyncio.get_running_loop().time() == crowd.started
    assert crowd.departure.needed_s(30) == crowd.departure.left_s == 0


@virtual
async def test_the_window_stretches_to_what_others_take_in_and_says_so() -> None:
    crowd = Crowd(1000, pace=lambda: 50)
    with capture_logs() as logs:
        await crowd.departure.run(5)
    assert 19 <= crowd.moments[-1] <= 21
    # In no second more than the pace, and a step's worth.
    for start in range(20):
        assert sum(start <= moment < start + 1 for moment in crowd.moments) <= 50 * (1 + STEP_S) + 1
    assert logs[0]["event"] == "gateway.draining"
    assert (logs[0]["window_s"], logs[0]["needed_s"]) == (5, 20.0)


@virtual
async def test_the_pace_is_looked_up_anew_as_others_begin_and_end_to_drain() -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    crowd = Crowd(1000, pace=lambda: 20.0 if loop.time() - start < 10 else 400.0)
    await crowd.departure.run(0)
    early = [moment for moment in crowd.moments if moment < 10]
    assert 190 <= len(early) <= 215
    assert 11 <= crowd.moments[-1] <= 13


@virtual
async def test_time_left_counts_down() -> None:
    crowd = Crowd(100, pace=lambda: 10)
    leaving = asyncio.create_task(crowd.departure.run(2))
    seen = []
    while not leaving.done():
        await asyncio.sleep(1)
        seen.append(crowd.departure.left_s)
    assert seen[0] >= 8
    assert seen[-1] == 0
    assert all(later <= earlier for earlier, later in pairwise(seen))


@virtual
async def test_a_departure_can_be_hastened_but_not_put_off() -> None:
    crowd = Crowd(100)
    leaving = asyncio.create_task(crowd.departure.run(100))
    await asyncio.sleep(10)
    assert len(crowd.asked) < 15
    crowd.departure.hasten(500)
    crowd.departure.hasten(5)
    await soon(leaving, 6)
    assert len(crowd.asked) == 100


@virtual
async def test_in_a_hurry_the_clients_spread_their_return_themselves() -> None:
    crowd = Crowd(300, pace=lambda: 100)
    crowd.departure.hurry()
    assert crowd.departure.begun
    assert {told for _, told in crowd.asked} == {(0, 3000)}
    await until(lambda: not crowd.lines)


@virtual
async def test_nobody_is_asked_twice_when_it_hurries_in_the_middle() -> None:
    crowd = Crowd(300)
    leaving = asyncio.create_task(crowd.departure.run(30))
    await asyncio.sleep(10)
    crowd.departure.hurry()
    await soon(leaving, 1)
    assert len(crowd.asked) == 300


@virtual
async def test_clients_may_leave_by_themselves() -> None:
    crowd = Crowd(10)
    leaving = asyncio.create_task(crowd.departure.run(10))
    await asyncio.sleep(5)
    asked = len(crowd.asked)
    assert 0 < asked < 10
    for line in list(crowd.lines):
        line.vanish()
    await soon(leaving, 1)
    assert len(crowd.asked) == asked


@virtual
async def test_who_does_not_go_is_not_waited_for_longer_than_a_close_takes() -> None:
    crowd = Crowd(2)
    crowd.lines.add(Client(crowd, deaf=True))
    with capture_logs() as logs:
        await crowd.departure.run(0)
    assert asyncio.get_running_loop().time() - crowd.started < CLOSE_S + 1
    assert logs[-1]["event"] == "gateway.not_drained"
    assert logs[-1]["connections"] == 1
