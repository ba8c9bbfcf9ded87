"""Sending a node's clients away: spread over a window, no faster than others can take them in.

Each is closed at its own moment and comes back at once, so the closing itself is the spread, and
a session's grace counts from there. How fast is looked up anew at every step: other nodes may begin
to drain meanwhile, or end.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Final, Protocol

import structlog

from roomful_nodes.outbox import CLOSE_S, Outbox
from roomful_protocol.errors import DRAIN, Close
from roomful_rooms.clock import Clock

STEP_S: Final = 0.1
JITTER_MS: Final = 200
"""Clients that are closed in one step come back over so long."""
HURRIED_S: Final = 5.0
"""If there is no time to spread the closing, clients spread their return over at most so long: a
session's grace must not run out meanwhile."""

log = structlog.get_logger()


class Line(Protocol):
    """A socket, as far as its leaving goes."""

    @property
    def outbox(self) -> Outbox: ...

    def end(self, close: Close, *, delay_ms: tuple[int, int]) -> None: ...


class Departure:
    """Of the clients behind `lines`. `pace` tells how many a second may be sent away now."""

    def __init__(self, lines: Collection[Line], *, pace: Callable[[], float], clock: Clock) -> None:
        self.begun = False
        self._lines, self._pace, self._clock = lines, pace, clock
        self._deadline = 0.0
        self._empty = asyncio.Event()

    def __len__(self) -> int:
        """How many clients are here."""
        return len(self._lines)

    @property
    def left_s(self) -> float:
        """In how many seconds all will have been asked to leave, if the pace stays as it is."""
        return self._needed(sum(line.outbox.open for line in self._lines))

    def needed_s(self, window_s: float) -> float:
        """How many seconds it would take from now on, with that window."""
        return max(window_s, len(self._lines) / self._pace()) if self._lines else 0.0

    def _needed(self, lines: int) -> float:
        """Seconds for so many lines: what is left of the window, or more if the pace asks it."""
        if not lines:
            return 0.0
        return max(self._deadline - self._clock.monotonic(), lines / self._pace(), 0.0)

    def hasten(self, window_s: float) -> None:
        """Let the window end within `window_s` seconds from now, if it would end later."""
        self._deadline = min(self._deadline, self._clock.monotonic() + window_s)

    async def run(self, window_s: float) -> None:
        """Let nobody in, and ask all to leave within `window_s` seconds, or as soon after that as
        the pace allows; returns when they have left."""
        self.begun = True
        self._deadline = self._clock.monotonic() + window_s
        log.info(
            "gateway.draining", connections=len(self._lines), window_s=window_s,
            needed_s=round(self.left_s, 1),
        )  # fmt: skip
        await self._ask_all()
        try:
            async with asyncio.timeout(CLOSE_S):
                while self._lines:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            log.warning("gateway.not_drained", connections=len(self._lines))

    async def _ask_all(self) -> None:
        due, before = 1.0, self._clock.monotonic()
        while staying := [line for line in self._lines if line.outbox.open]:
            for line in staying[: int(due)]:
                line.end(DRAIN, delay_ms=(0, JITTER_MS))
            due -= int(due)
            if needed := self._needed(len(staying)):
                await asyncio.sleep(STEP_S)
            now = self._clock.monotonic()
            due += len(staying) * (now - before) / needed if needed else len(staying)
            before = now

    def hurry(self) -> None:
        """Ask all who are left to leave now. They spread their return themselves."""
        self.begun = True
        staying = [line for line in self._lines if line.outbox.open]
        spread_s = min(len(staying) / self._pace(), HURRIED_S)
        for line in staying:
            line.end(DRAIN, delay_ms=(0, max(JITTER_MS, int(spread_s * 1000))))

    def gone(self) -> None:
        """A socket has been closed."""
        if not self._lines:
            self._empty.set()
