"""Time and chance, passed in: nothing below `ops` asks the machine for either."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """`monotonic`: seconds, for deadlines; `wall_ms`: milliseconds since 1970, for people."""

    monotonic: Callable[[], float]
    wall_ms: Callable[[], int]


NewId = Callable[[], str]
"""A fresh random id of `[a-z0-9]`, at least 16 characters: unique, and not to be guessed."""
