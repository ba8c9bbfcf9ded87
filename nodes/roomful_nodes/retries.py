"""Questions that have to be asked once more: lane by lane, and of one lane in order.

A room takes what comes over a lane by its number, and turns away what comes before its turn. So
while one question waits, those after it wait with it, and all of them are asked again in one go:
each with a pause of its own, they would take turns in coming too early.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from roomful_nodes.lane import Lane

PAUSE_S = (0.005, 0.1)
"""Pause before the next attempt, doubling from the first to the second as long as nothing of the
lane is answered, in seconds."""


class Question(Protocol):
    """Those that were asked later have a higher `reference`."""

    @property
    def reference(self) -> int: ...

    @property
    def lane(self) -> Lane: ...


Q = TypeVar("Q", bound=Question)


@dataclass(slots=True)
class _Pause(Generic[Q]):
    """One lane's `questions` that wait, by reference; `next_s`: how long the next ones will."""

    questions: dict[int, Q] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    next_s: float = PAUSE_S[0]


class Retries(Generic[Q]):
    """What waits until it is passed to `attempt` again. `lanes`: those on which something waits, or
    has since it was last answered."""

    def __init__(self, attempt: Callable[[Q], None]) -> None:
        self._attempt = attempt
        self.lanes: dict[Lane, _Pause[Q]] = {}

    def hold(self, lane: Lane) -> bool:
        """Whether a question of `lane` waits."""
        pause = self.lanes.get(lane)
        return pause is not None and bool(pause.questions)

    def add(self, question: Q) -> None:
        """Have it asked again after a pause, or with those of its lane that wait already."""
        lane = question.lane
        pause = self.lanes.setdefault(lane, _Pause())
        pause.questions[question.reference] = question
        if pause.timer is None:
            self._begin(lane, pause)

    def _begin(self, lane: Lane, pause: _Pause[Q]) -> None:
        loop = asyncio.get_running_loop()
        pause.timer = loop.call_later(pause.next_s, self._again, lane)
        pause.next_s = min(2 * pause.next_s, PAUSE_S[1])

    def settled(self, question: Q) -> None:
        """It has its answer: what waits behind it need not be patient."""
        pause = self.lanes.get(question.lane)
        if pause is None:
            return
        pause.questions.pop(question.reference, None)
        pause.next_s = PAUSE_S[0]
        timer = pause.timer
        if not pause.questions:
            del self.lanes[question.lane]
            if timer is not None:
                timer.cancel()
        elif timer is not None:
            soon = asyncio.get_running_loop().time() + PAUSE_S[0]
            if timer.when() > soon:
                timer.cancel()
                self._begin(question.lane, pause)

    def hurry(self, asked_elsewhere: Callable[[Q], bool]) -> None:
        """Ask at once what waits on lanes with a question of which that is true."""
        for lane, pause in list(self.lanes.items()):
            if any(map(asked_elsewhere, pause.questions.values())):
                pause.next_s = PAUSE_S[0]
                self._again(lane)

    def _again(self, lane: Lane) -> None:
        pause = self.lanes.get(lane)
        if pause is None:
            return
        if pause.timer is not None:
            pause.timer.cancel()
        waiting, pause.timer, pause.questions = pause.questions, None, {}
        for reference in sorted(waiting):
            self._attempt(waiting[reference])
