"""How much one client may ask of a node: messages per second, and questions without an answer."""

from math import ceil
from typing import Final, Protocol

FLOOD: Final = 10
"""A client that goes on through so many bursts' worth of refusals is not going to stop."""


class Rate:
    """A bucket of `burst` messages, filled with `per_s` of them a second."""

    __slots__ = ("_at", "_burst", "_per_s", "_refused", "_tokens")

    def __init__(self, per_s: float, burst: int, now: float) -> None:
        self._per_s, self._burst, self._at = per_s, burst, now
        self._tokens = float(burst)
        self._refused = 0.0

    def take(self, now: float) -> int:
        """0 if one more message may pass `now` (monotonic seconds), else the milliseconds until one
        may."""
        gained = (now - self._at) * self._per_s
        self._at = now
        # Refusals are forgiven at the rate at which messages are allowed.
        self._refused = max(self._refused - gained, 0)
        self._tokens = tokens = min(self._tokens + gained, self._burst)
        if tokens >= 1:
            self._tokens -= 1
            return 0
        self._refused += 1
        return ceil((1 - tokens) * 1000 / self._per_s)

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
    the bound is reached, and resumed when half of it is free again.
    """

    __slots__ = ("_asks", "_bytes", "_paused", "_reading")

    ASKS: Final = 256
    BYTES: Final = 1024 * 1024

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._asks = self._bytes = 0
        self._paused = False

    def owe(self, size: int) -> None:
        """A question of `size` bytes has been passed on."""
        self._asks += 1
        self._bytes += size
        if self._asks >= self.ASKS or self._bytes >= self.BYTES:
            # Again and again while it lasts: others may have resumed the socket meanwhile.
            self._paused = True
            self._reading.pause_reading()

    def settle(self, size: int) -> None:
        """The question has been answered."""
        self._asks -= 1
        self._bytes -= size
        if self._paused and self._asks <= self.ASKS // 2 and self._bytes <= self.BYTES // 2:
            self._paused = False
            self._reading.resume_reading()
