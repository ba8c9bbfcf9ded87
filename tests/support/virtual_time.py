"""An event loop without waiting: when nothing is ready, its clock jumps to the next timer.

Hours pass in milliseconds, timeouts fire in their exact order, and a test that waits for something
that can never happen fails at once instead of hanging.
"""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

from roomful_rooms.clock import Clock

P = ParamSpec("P")
T = TypeVar("T")

EPOCH_MS: Final = 1_800_000_000_000
TURNS: Final = 2_000_000
"""Turns of the loop within which a test must be done: what spins for ever fails."""


class Deadlock(RuntimeError):
    """Nothing is ready and no timer is set: whatever is awaited will never come."""


class _Jumping(selectors.DefaultSelector):
    """Where the loop would sleep, its clock moves on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._turns += 1
        if timeout is None:
            raise Deadlock("all tasks wait for something that nobody will do")
        if self._turns > TURNS:
            raise Deadlock("the loop goes round and round")
        self.now += max(timeout, 0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """For code without sockets and threads."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def pass_time(self, seconds: float) -> None:
        """Whatever runs takes so long."""
        self._jumping.now += seconds


def run(main: Coroutine[Any, Any, T]) -> T:
    """What `main` returns, in a virtual loop of its own."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Decorate an async test to run in virtual time; below `@given`, for each example anew."""

    @wraps(test)
    def in_virtual_time(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return in_virtual_time


def clock() -> Clock:
    """The running loop's own time, for what is told time by its caller."""
    loop = asyncio.get_running_loop()
    return Clock(loop.time, lambda: EPOCH_MS + int(loop.time() * 1000))


async def turns(count: int = 10) -> None:
    """Let the loop go round without letting time pass."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(true: Callable[[], object], within_s: float = 60.0) -> None:
    """Wait until a condition holds. Raises TimeoutError after `within_s` virtual seconds."""
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110 - a condition has no event
            await asyncio.sleep(0.001)


async def soon(awaitable: Awaitable[T], within_s: float = 60.0) -> T:
    """What `awaitable` returns, but no later than that. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        return await awaitable
