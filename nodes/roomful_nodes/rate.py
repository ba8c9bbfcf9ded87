"""How much one client may ask of a node: messages per second, and questions without an answer."""

from math import ceil
from typing import Final, Protocol

FLOOD: Final = 10
"""A client that goes on through so many bursts' worth of refusals is not going to stop."""


EXACT_S: Final = 1e-6
"""Sums of times are not more exact than this."""
BYTES: Final = 1024 * 1024
"""What a client's questions may take that wait for answers."""
ASK_BYTES: Final = 2048
"""What a question takes besides the client's message, roughly."""


class Rate:
    """A bucket of `burst` messages, filled with `per_s` of them a second.

    What is kept is the moment at which it will be full again (the generic cell rate algorithm of
    ITU-T I.371): one sum for a message that passes.
    """

    __slots__ = ("_burst", "_each_s", "_early_s", "_full_at", "_refused", "_refused_at")

    def __init__(self, per_s: float, burst: int, now: float) -> None:
        self._burst, self._each_s = burst, 1 / per_s
        # So long before it is full there is one message left in the bucket.
        self._early_s = (burst - 1) / per_s + EXACT_S
        self._full_at = self._refused_at = now
        self._refused = 0.0

    def take(self, now: float) -> int:
        """0 if one more message may pass `now` (monotonic seconds), else the milliseconds until one
        may."""
        full_at = self._full_at
        if full_at < now:
            full_at = now
        if full_at > now + self._early_s:
            return self._refuse(now, full_at - now - self._early_s)
        self._full_at = full_at + self._each_s
        return 0

    def _refuse(self, now: float, wait_s: float) -> int:
        # Refusals are forgiven at the rate at which messages are allowed.
        forgiven = (now - self._refused_at) / self._each_s
        self._refused, self._refused_at = max(self._refused - forgiven, 0) + 1, now
        return ceil(wait_s * 1000)

    @property
    def flooding(self) -> bool:
        return self._refused > FLOOD * self._burst


class Reading(Protocol):
    """Whatever hears a client, and can be told to stop that for a while."""

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Credit:
    """Questions of one client that wait for answers: above a bound it is not listened to.

    So what one client can make a node hold is bounded, whatever its rate. `reading` is paused when
    the bound is reached, and resumed when half of it is free again. Whoever passes a question on
    adds what it takes to `owed`, and settles that when it is answered.
    """

    __slots__ = ("_paused", "_reading", "owed")

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self.owed = 0
        self._paused = False

    def look(self) -> None:
        """Pause if too much is owed."""
        if self.owed >= BYTES:
            # Again and again while it lasts: others may have resumed the socket meanwhile.
            self._paused = True
            self._reading.pause_reading()

    def settle(self, cost: int) -> None:
        """A question that took so much has been answered."""
        self.owed -= cost
        if self._paused and self.owed <= BYTES // 2:
            self._paused = False
            self._reading.resume_reading()
