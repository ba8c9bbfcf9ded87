"""Questions and answers as fast as they go, with so many on their way at a time."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from statistics import quantiles
from typing import Final

from roomful.bench.processes import Window
from roomful.bench.wire import Broken

WARM_S: Final = 0.5
WITHIN_S: Final = 60.0


class ClosedLoop:
    """Asks again whenever an answer comes. `ask` sends one question; whoever hears an answer calls
    `answered`."""

    def __init__(self, in_flight: int) -> None:
        self.ask: Callable[[], None] = lambda: None
        self._in_flight = in_flight
        self._left = 0.0
        self._asked = self._answers = 0
        self._asked_at = 0.0
        self._times: list[float] = []
        self._all: asyncio.Future[None] | None = None

    def answered(self) -> None:
        self._answers += 1
        if self._in_flight == 1:
            self._times.append(time.perf_counter() - self._asked_at)
        if self._left:
            self._next()
        elif self._answers == self._asked and self._all is not None:
            self._all.set_result(None)
            self._all = None

    def fail(self, reason: Exception) -> None:
        """No answer came but something else: whoever waits for the loop is told `reason`."""
        self._left = 0
        if self._all is not None:
            self._all.set_exception(reason)
            self._all = None

    def _next(self) -> None:
        self._left -= 1
        self._asked += 1
        if self._in_flight == 1:
            self._asked_at = time.perf_counter()
        self.ask()

    def _begin(self, count: float) -> asyncio.Future[None]:
        self._left = count
        done = self._all = asyncio.get_running_loop().create_future()
        for _ in range(int(min(self._in_flight, count))):
            self._next()
        return done

    async def all_of(self, count: int, within_s: float = WITHIN_S) -> None:
        """Ask `count` questions and hear all the answers. Raises TimeoutError, and what `fail` was
        told."""
        await asyncio.wait_for(self._begin(count), within_s)

    async def rate(self, seconds: float, servers: Sequence[int] = ()) -> tuple[float, Window]:
        """Answers per second, and what else was used while they were counted.

        Raises TimeoutError if any stays out, and what `fail` was told.
        """
        done = self._begin(math.inf)
        await _passed(WARM_S, done)
        with Window(servers) as window:
            before = self._answers
            await _passed(seconds, done)
            count = self._answers - before
        self._left = 0
        await asyncio.wait_for(done, WITHIN_S)
        return count / window.seconds, window

    async def times(
        self, warm: int, samples: int, servers: Sequence[int] = ()
    ) -> tuple[list[float], Window]:
        """What each of `samples` answers took, in seconds, one question at a time.

        Raises as `all_of` does.
        """
        await self.all_of(warm)
        self._times.clear()
        with Window(servers) as window:
            await self.all_of(samples)
        return self._times, window


async def _passed(seconds: float, failing: asyncio.Future[None]) -> None:
    await asyncio.wait([failing], timeout=seconds)
    if failing.done():
        failing.result()


def percentiles_us(times: Sequence[float]) -> tuple[float, float]:
    """p50 and p99 in microseconds. Raises Broken where there is nothing to tell them from."""
    if len(times) < 2:
        raise Broken(f"only {len(times)} answers came")
    cuts = quantiles(times, n=100, method="inclusive")
    return cuts[49] * 1e6, cuts[98] * 1e6
