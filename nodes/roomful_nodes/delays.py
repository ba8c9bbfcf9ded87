"""What waits for the same time as many others do, by one timer for all of them.

A timer of the loop takes longer to make and to end than most of what it is for, and some memory:
thousands of clients that come or go in one moment would need thousands of them.
"""

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Final, Generic, TypeVar

AT_ONCE: Final = 100
"""So many are over in one turn of the loop, at most: what comes in meanwhile wants its turn."""

K = TypeVar("K")


class Delays(Generic[K]):
    """`over` is called for each that was begun, `seconds` later, unless it was called off."""

    def __init__(
        self, seconds: float, over: Callable[[K], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.seconds, self._over, self._loop = seconds, over, loop
        # By when they are over, which is the order of their beginning.
        self._until: dict[K, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __contains__(self, one: object) -> bool:
        return one in self._until

    def begin(self, one: K) -> None:
        """From now on; anew, if it has begun before."""
        self._until.pop(one, None)
        self._until[one] = self._loop.time() + self.seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self.seconds, self._look)

    def call_off(self, one: K) -> None:
        """That of one which has not begun, or is over, is none."""
        self._until.pop(one, None)

    def close(self) -> None:
        """Call off all."""
        self._until.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        try:
            self._end_those_over(self._loop.time())
        finally:
            # If ending one has failed, the others' time comes nevertheless.
            self._timer = None
            if self._until:
                self._timer = self._loop.call_at(next(iter(self._until.values())), self._look)

    def _end_those_over(self, now: float) -> None:
        # Taken together: whoever looks for the first one each time looks past all that were there.
        for one, until in list(islice(self._until.items(), AT_ONCE)):
            # Clocks of timers are coarse: what is over within this millisecond is over.
            if until > now + 0.001:
                return
            # Another's end may have called it off, or begun it anew.
            if self._until.get(one) == until:
                del self._until[one]
                self._over(one)
