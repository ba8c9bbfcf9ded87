"""Python's garbage collector: it must not stop the loop for long, and is timed when it stops it.

Nodes leave no cycles of references behind for what comes and goes (clients, rooms, feeds), so there
is hardly anything to collect; but looking for it takes about half a microsecond for each object,
and a connection has some thirty of them.
"""

import asyncio
import gc
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

THRESHOLDS: Final = (10_000, 250, 1000)
"""The young are looked at when there are so many more of them, that is after 300 connections or
so: 1 to 4 ms. What has outlived that is looked at after 250 such passes, everything practically
never: at 10,000 connections that would be 0.2 s or more."""
REPORT_S: Final = 1.0
_KEPT: Final = 1000


class Collector:
    """The one of this process. `observe` is told how long each of its passes took, in seconds."""

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe
        self._began = 0.0
        # A pass may interrupt anything, the counting of another's time as well: so, not at once.
        self._took: deque[float] = deque(maxlen=_KEPT)

    def settle(self) -> None:
        """What exists now lives as long as the process: it need not be looked at again."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)

    async def watch(self) -> None:
        """Time the passes until cancelled."""
        gc.callbacks.append(self._passed)
        try:
            while True:
                await asyncio.sleep(REPORT_S)
                while self._took:
                    self._observe(self._took.popleft())
        finally:
            gc.callbacks.remove(self._passed)

    def _passed(self, phase: str, _: dict[str, Any]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self._took.append(time.perf_counter() - self._began)
