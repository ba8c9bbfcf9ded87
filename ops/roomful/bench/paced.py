"""Messages at a given rate, and how long each took to each member."""

import gc
import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

from roomful.bench.crowd import SILENT_S, Crowd, Heard, Line, Room
from roomful.bench.processes import Window
from roomful.bench.said import Numbered, number_in
from roomful.bench.wire import Broken, split

WARM_S: Final = 0.5


class Paced:
    """A room in which the members, one after the other, say something at a steady rate."""

    def __init__(self, crowd: Crowd, room: Room, frames: Numbered) -> None:
        self._crowd, self._room, self._frames = crowd, room, frames
        self._sent: list[float] = []
        self._heard: list[Heard] = []

    def run(
        self, rate: float, seconds: float, servers: Iterable[int] = ()
    ) -> tuple[list[float], Window]:
        """What each delivery took, in seconds. Raises Broken if any stays out."""
        record = self._room.ear.record = bytearray()
        gc.disable()  # a pause of the load's own would be taken for the server's
        try:
            self._speak(rate, WARM_S)
            first = len(self._sent)
            with Window(list(servers)) as window:
                self._speak(rate, seconds)
            last = len(self._sent)
            self._until_all_is_heard()
        finally:
            gc.enable()
        return delays(self._heard, self._sent, bytes(record), range(first, last)), window

    def _speak(self, rate: float, seconds: float) -> None:
        members, due = self._room.lines, time.perf_counter()
        end = due + seconds
        while (now := time.perf_counter()) < end:
            while due <= now:
                number = len(self._sent)
                self._sent.append(time.perf_counter())
                members[number % len(members)].tcp.sendall(self._frames(number))
                due += 1 / rate
            self._crowd.hear(self._heard)
        self._room.said = len(self._sent)

    def _until_all_is_heard(self) -> None:
        silent_since = time.perf_counter()
        while not self._room.complete:
            if self._crowd.hear(self._heard):
                silent_since = time.perf_counter()
            elif time.perf_counter() - silent_since > SILENT_S:
                heard = self._room.ear.messages
                raise Broken(f"of {self._room.said} messages {heard} were heard")


def delays(
    heard: Iterable[Heard], sent: Sequence[float], record: bytes, counted: range
) -> list[float]:
    """What each delivery of the messages `counted` took, in seconds.

    `sent`: when message by message was said; `record`: all that every line was sent, of which
    `heard` tells when how much of it came on which.
    """
    ends, numbers = _frames(record)
    got: dict[Line, int] = {}
    found: list[float] = []
    for at, line, size in heard:
        before = got.get(line, 0)
        got[line] = before + size
        for index in range(bisect_left(ends, before + 1), len(ends)):
            if ends[index] > before + size:
                break
            if (number := numbers[index]) is not None and number in counted:
                found.append(at - sent[number])
    return found


def _frames(record: bytes) -> tuple[list[int], list[int | None]]:
    """Where each of the server's frames ends, and the number of the message in it."""
    payloads = [payload for _, payload in split(record)[0]]
    ends = accumulate(len(payload) + (2 if len(payload) < 126 else 4) for payload in payloads)
    return list(ends), [number_in(payload) for payload in payloads]
