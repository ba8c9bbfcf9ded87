"""How fast a client may go: below its node's limit, and back to a lost node without a rush."""

from collections.abc import Callable
from typing import Final

Chance = Callable[[], float]
"""A random number from 0 to 1."""

SHARE: Final = 0.8
"""Of the node's limit: what was sent evenly may arrive in a bunch."""


class Allowance:
    """A bucket of messages that may be sent now, refilled at a rate. Times are seconds."""

    def __init__(self, per_s: float, burst: float, now: float) -> None:
        self._per_s = max(per_s * SHARE, 0.1)
        self._most = max(burst * SHARE, 1.0)
        self._left, self._at = self._most, now

    def take(self, now: float) -> bool:
        """One message less may be sent; False if none may."""
        self._fill(now)
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def next_at(self, now: float) -> float:
        """When there is one to take."""
        self._fill(now)
        return now + max(0.0, 1 - self._left) / self._per_s

    def _fill(self, now: float) -> None:
        self._left = min(self._most, self._left + (now - self._at) * self._per_s)
        self._at = now


def full_jitter(attempt: int, base_s: float, cap_s: float, chance: Chance) -> float:
    """Seconds until another attempt (0 is the first): anywhere below a ceiling that doubles, so
    that clients which lost the same node do not all come back at the same moment."""
    # Beyond 2**30 the cap has long been reached, and floats would overflow in the end.
    return chance() * float(min(cap_s, base_s * 2 ** min(attempt, 30)))
