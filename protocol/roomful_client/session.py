"""A client's session: who it is, what resumes it, and when to come back after a lost connection."""

from typing import Any, Final

from roomful_client.errors import RoomfulError
from roomful_client.pace import Chance, full_jitter
from roomful_protocol.errors import CLOSES, UNAUTHORIZED

STEADY_S: Final = 10.0
"""Shorter connections do not count as a recovery: the pauses before the next go on growing."""
_BACKOFF_S: Final = (0.3, 15.0)
_FOR_GOOD: Final = range(4500, 5000)
_SLUGS: Final = {close.code: close.slug for close in CLOSES}


class Session:
    """The sans-I/O state of one session over its connections.

    `hello` is the node's newest, also after its connection was lost; `bye` what it said before it
    closed the present one. Times are seconds.
    """

    def __init__(self, user: str | None, name: str | None, chance: Chance) -> None:
        self.hello: dict[str, Any] | None = None
        self.open = False
        self.bye: dict[str, Any] = {}
        self._user, self._name, self._chance = user, name, chance
        self._ticket: dict[str, str] = {}
        self._opened_at = 0.0
        self._attempts = 0

    @property
    def user(self) -> str | None:
        """Who we are; the node may have decided it."""
        return self.hello["user"] if self.hello else self._user

    @property
    def heartbeat_s(self) -> float | None:
        """How long either side may be silent; None while there is no connection."""
        return float(self.hello["heartbeat_s"]) if self.hello and self.open else None

    @property
    def message_bytes(self) -> float:
        """The most that a message may have, as far as we know."""
        return float(self.hello["limits"]["message_bytes"]) if self.hello else float("inf")

    def query(self, token: str | None) -> dict[str, str]:
        """The query with which to connect."""
        asked = {"name": self._name, "token": token, "user": None if token else self.user}
        return {key: value for key, value in asked.items() if value} | self._ticket

    def opened(self, hello: dict[str, Any], now: float) -> None:
        self.hello, self.open, self._opened_at = hello, True, now
        self._ticket = {"session": hello["session"], "secret": hello["secret"]}

    def ended(
        self, now: float, code: int | None, reason: str, delay_ms: tuple[float, float] = (0, 0)
    ) -> float | RoomfulError:
        """The connection is no more, or there was none: seconds to wait, or why it is all over.

        `delay_ms`: the window in which to come again, unless the `bye` says another.
        """
        was_open, bye = self.open, self.bye
        self.open, self.bye = False, {}
        if was_open and now - self._opened_at > STEADY_S:
            self._attempts = 0
        # A session that is not believed any more is no reason to stay away: a new one will do.
        stale = code == UNAUTHORIZED.code and bool(self._ticket) and not was_open
        if stale or bye.get("resume") is False:
            self._ticket = {}
        final = code in _FOR_GOOD or bye.get("reconnect") is False
        if final and not stale:
            slug = bye.get("code") or _SLUGS.get(code or 0, "refused")
            return RoomfulError(slug, bye.get("message") or reason)
        return self._pause(bye.get("delay_ms", delay_ms))

    def _pause(self, window_ms: tuple[float, float]) -> float:
        first, last = window_ms
        attempt, self._attempts = self._attempts, self._attempts + 1
        if last > 0:
            return (first + self._chance() * (last - first)) / 1000
        return full_jitter(attempt, *_BACKOFF_S, self._chance)
