"""How soon what a room has said goes further: at once, unless much is said."""

import asyncio
from collections.abc import Callable
from typing import Final

PACE_S: Final = 0.001
"""Where much is said, at most one write to the log, and one to each member, in so long."""
MANY: Final = 50
"""To write to so many members costs as much as an append: only then is it worth it to wait."""


class Pace:
    """Between what gathers and what is done with it, which says each time what it found.

    `alone`: one thing had gathered, so the next will be alone, too, most likely. `busy`: so many
    that PACE_S have to pass between two times; else nothing waits, as there is nothing to gather.
    """

    __slots__ = ("_loop", "_next", "alone", "busy")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.alone, self.busy = True, False
        self._loop = loop
        self._next = 0.0

    def call(self, act: Callable[[], None]) -> None:
        """Have `act` called: when this turn of the loop is over, or when it is time."""
        loop = self._loop
        now = loop.time()
        if now >= self._next or not self.busy:
            self._next = now + PACE_S
            loop.call_soon(act)
        else:
            loop.call_at(self._next, act)
            self._next += PACE_S
