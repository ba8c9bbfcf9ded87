"""How fast clients are let in: at a pace that leaves the node time for those who are inside.

When a node dies, all its clients come to the others in one moment, and each costs a handshake, a
hello and the joining of its rooms. So they wait for their turn, in the order of their coming;
whoever would wait for too long is told when to come again, each one a little later than the last.
"""

import asyncio
from collections import deque
from math import ceil
from typing import Final

from roomful_nodes.metrics import Metrics

STEP_S: Final = 0.02
"""Turns are given so often while somebody waits, as many as are due in that time. A loop that runs
late gives fewer: the pace falls by itself where a node cannot keep it."""
BURST_S: Final = 0.2
"""So many seconds' worth may come at once, if nobody came for so long."""
PATIENCE_S: Final = 5.0
"""Who would wait for longer, at the full pace, is turned away."""
AWAY_S: Final = 30
"""Nobody is told to stay away for longer."""


class Crowded(Exception):
    """Too many are waiting. `after_s`: whole seconds after which to come again."""

    def __init__(self, after_s: int) -> None:
        super().__init__(f"Too many clients are coming at once; come again in {after_s} s.")
        self.after_s = after_s


class Admission:
    """A queue at the door, through which `per_s` clients pass in a second."""

    def __init__(self, per_s: float, loop: asyncio.AbstractEventLoop, metrics: Metrics) -> None:
        self._per_s, self._loop, self._metrics = per_s, loop, metrics
        self._share = per_s * STEP_S
        self._most = max(per_s * BURST_S, 1.0)
        self._left = self._most
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._stepping = False
        # When the last of those who were turned away is to come again.
        self._promised = 0.0

    def at_once(self) -> bool:
        """Whether it is the caller's turn without waiting; then it has been taken."""
        if self._waiting or self._left < 1:
            return False
        self._left -= 1
        self._step_later()
        return True

    async def turn(self) -> None:
        """Return when it is the caller's turn. Raises Crowded."""
        if self.at_once():
            return
        if len(self._waiting) >= self._per_s * PATIENCE_S:
            self._metrics.turned_away_crowded.inc()
            raise Crowded(self._promise())
        turn = self._loop.create_future()
        self._waiting.append(turn)
        self._metrics.arrivals.set(len(self._waiting))
        await turn

    def give_back(self) -> None:
        """The caller has had its turn, but is not there any more: so it is the next one's."""
        self._left = min(self._left + 1, self._most)
        self._let_in()

    def _promise(self) -> int:
        """Seconds until there should be a turn for one more, behind all who were promised one."""
        now = self._loop.time()
        self._promised = max(self._promised, now + PATIENCE_S) + 1 / self._per_s
        return min(ceil(self._promised - now), AWAY_S)

    def _step_later(self) -> None:
        if not self._stepping:
            self._stepping = True
            self._loop.call_later(STEP_S, self._step)

    def _step(self) -> None:
        self._stepping = False
        self._left = min(self._left + self._share, self._most)
        self._let_in()
        if self._waiting or self._left < self._most:
            self._step_later()

    def _let_in(self) -> None:
        """Give the turns that there are."""
        while self._waiting and self._left >= 1:
            turn = self._waiting.popleft()
            # One who has given up meanwhile takes nobody's turn.
            if not turn.done():
                turn.set_result(None)
                self._left -= 1
        self._metrics.arrivals.set(len(self._waiting))
