"""One virtual clock for many event loops: whose turn it is decides a seeded die.

Each node has a loop of its own, as it would in a process of its own. A loop that is paused is not
given a turn: messages wait, timers are late, and only when its own code asks does it find that time
has passed. A loop that is stopped is never given a turn again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any, Final, TypeVarTuple, Unpack

Ts = TypeVarTuple("Ts")

START_S: Final = 1000.0
TURNS: Final = 3_000_000
"""Callbacks within which a simulation must be done: what spins for ever fails."""


class Timeline:
    """What happens when. `now` is true time, in seconds; the clocks of loops may run otherwise."""

    def __init__(self, seed: int) -> None:
        self.now = START_S
        self._die = Random(f"timeline {seed}")  # noqa: S311
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = count()
        self._ready: list[Loop] = []
        self._turns = 0

    def later(self, seconds: float, callback: Callable[[], object]) -> None:
        """Do something `seconds` from now, outside all loops."""
        heappush(self._due, (self.now + seconds, next(self._numbers), callback))

    def wants_turn(self, loop: "Loop") -> None:
        if loop not in self._ready:
            self._ready.append(loop)

    def run(self, seconds: float) -> None:
        """Let `seconds` pass."""
        end, ended = self.now + max(seconds, 0), False
        while not ended:
            self._drain()
            ended = not self._due or self._due[0][0] > end
            if ended:
                self.now = end
            else:
                self.now, _, callback = heappop(self._due)
                callback()

    def _drain(self) -> None:
        """Give loops their turns until none wants one: no time passes."""
        while self._ready:
            self._turns += 1
            if self._turns > TURNS:
                raise RuntimeError("the loops go round and round")
            index = self._die.randrange(len(self._ready)) if len(self._ready) > 1 else 0
            loop = self._ready.pop(index)
            loop.turn()


class Loop(asyncio.AbstractEventLoop):
    """One node's event loop. Its clock runs `rate` times as fast as true time."""

    def __init__(self, timeline: Timeline, name: str, rate: float = 1.0) -> None:
        self.name = name
        self.failures: list[str] = []
        self.stopped = False
        self._timeline, self._rate = timeline, rate
        self._ready: deque[asyncio.Handle] = deque()
        self._paused = 0
        self._fuse: tuple[int, Callable[[], None]] | None = None

    # -- what the simulation does with it ----------------------------------------------------------

    def pause(self, seconds: float, after: int = 0) -> None:
        """Do nothing for `seconds`, beginning after so many callbacks."""
        self._light(after, lambda: self._freeze(seconds))

    def interrupt(self, action: Callable[[], None], after: int) -> None:
        """Do `action` between two callbacks: when it has run `after` more of them, or soon."""
        self._light(after, action)

    def _light(self, after: int, action: Callable[[], None]) -> None:
        done = False

        def once() -> None:
            nonlocal done
            if not done:
                done, self._fuse = True, None
                action()

        self._fuse = (after, once)
        self._timeline.later(0.05, once)

    def _freeze(self, seconds: float) -> None:
        self._paused += 1
        self._timeline.later(seconds, self._thaw)

    def _thaw(self) -> None:
        self._paused -= 1
        self._want_turn()

    def turn(self) -> None:
        """Run what is ready now."""
        asyncio._set_running_loop(self)
        try:
            for _ in range(len(self._ready)):
                if self._fuse is not None and not self._burn():
                    break
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio._set_running_loop(None)
        self._want_turn()

    def _burn(self) -> bool:
        """Whether the next callback may run still."""
        assert self._fuse is not None
        left, action = self._fuse
        if left:
            self._fuse = (left - 1, action)
            return True
        action()
        return not self._paused and not self.stopped

    def _want_turn(self) -> None:
        if self._ready and not self._paused and not self.stopped:
            self._timeline.wants_turn(self)

    def end(self) -> None:
        """Cancel all tasks, and never run again."""
        asyncio._set_running_loop(self)
        try:
            # What runs at the end may start more.
            while tasks := asyncio.all_tasks(self):
                for task in sorted(tasks, key=lambda task: task.get_name()):
                    task.cancel()
                while self._ready:
                    handle = self._ready.popleft()
                    if not handle.cancelled():
                        handle._run()
        finally:
            asyncio._set_running_loop(None)
        self.stopped = True
        self._ready.clear()

    # -- what asyncio does with it -----------------------------------------------------------------

    def time(self) -> float:
        return self._timeline.now * self._rate

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        self._want_turn()
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        seconds = max(when / self._rate - self._timeline.now, 0)
        self._timeline.later(seconds, lambda: self._ring(handle))
        return handle

    def _ring(self, handle: asyncio.TimerHandle) -> None:
        if not handle.cancelled() and not self.stopped:
            self._ready.append(handle)
            self._want_turn()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Looked at when it is due."""

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Any = None
    ) -> "asyncio.Task[Any]":
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.failures.append(f"{self.name}: {context['message']}: {context.get('exception')!r}")

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return asyncio._get_running_loop() is self

    def is_closed(self) -> bool:
        return False
