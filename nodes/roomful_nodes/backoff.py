"""Asking an owner again that has denied an answer: seldom, but at once when it is heard of."""

import asyncio
from typing import Final

BACKOFF_S: Final = (0.05, 1.0)
"""An owner that has denied what is missing is asked again after so long: at first, at most."""


class Backoff:
    """What those who wait for the owner of one room wait for."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._waiting = 0

    def heard(self) -> None:
        """The owner lives: let go whoever waits."""
        if self._waiting:
            self._news.set()
            self._news.clear()

    async def wait(self, pause: float) -> float:
        """Wait for `pause` seconds, less if the owner is heard of. How long to wait next time."""
        self._waiting += 1
        try:
            async with asyncio.timeout(pause):
                await self._news.wait()
                # In a flood there is news all the time.
                await asyncio.sleep(BACKOFF_S[0])
        except TimeoutError:
            pass
        finally:
            self._waiting -= 1
        return min(2 * pause, BACKOFF_S[1])
