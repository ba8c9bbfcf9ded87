"""One node's connections to the brokers in memory, over a network that delays, loses and holds up.

A node has several, as on NATS: for leases, appends, events, and here one for the archive, which may
be slow. On each of them, and in each direction, messages keep their order; between them they do
not. What is lost is lost without a word: an answer that does not come is noticed by a deadline.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Final, TypeVar

from tests.simulation.timeline import Loop, Timeline

from roomful_protocol.ids import RoomName
from roomful_rooms.log import Record, Unavailable
from roomful_rooms.memory_link import Link
from roomful_rooms.memory_log import MemoryLog

T = TypeVar("T")

ASK_S: Final = 2.0
"""How long an answer is waited for, as over NATS."""
DELAY_S: Final = (0.0003, 0.003)
CONNECTIONS: Final = ("leases", "appends", "events", "archive")


@dataclass(slots=True)
class Way:
    """One direction of a connection. `loss`: the share of messages that vanish; 1 is a black hole.

    `extra_s` is added to each delay; until `held_until`, nothing arrives: then all of it does.
    """

    loss: float = 0.0
    extra_s: float = 0.0
    held_until: float = 0.0
    free_at: float = 0.0

    def arrival(self, now: float, die: Random) -> float | None:
        """When a message sent now arrives; None if it does not."""
        if self.loss and die.random() < self.loss:
            return None
        delay_s = die.uniform(*DELAY_S) + self.extra_s * die.random()
        self.free_at = max(now + delay_s, self.held_until, self.free_at)
        return self.free_at


class Connection(Link):
    """A `Link` of a node to the broker; what has left a node arrives even if that has crashed."""

    def __init__(self, timeline: Timeline, loop: Loop, die: Random) -> None:
        super().__init__()
        self.out, self.back = Way(), Way()
        self._timeline, self._loop, self._die = timeline, loop, die
        self._dead = False
        self._times_cut = 0

    def cut(self) -> None:
        """Reset: the broker and the node know, and what was under way may be lost or not."""
        self._times_cut += 1
        super().cut()

    def mend(self) -> None:
        if not self._dead:
            super().mend()

    def die(self) -> None:
        """Nothing leaves the node any more, or arrives at it."""
        self._dead = True
        super().cut()

    async def ask(self, operation: Callable[[], T]) -> T:
        self.require()
        answer: asyncio.Future[T] = self._loop.create_future()
        self._leave(lambda: self._do(operation, answer))
        try:
            async with asyncio.timeout(ASK_S):
                return await answer
        except TimeoutError:
            raise Unavailable("no answer") from None

    def attempt(self, operation: Callable[[], T | None], told: Callable[[T | None], None]) -> None:
        waiting = [told]

        def tell(answer: T | None) -> None:
            if waiting:
                waiting.pop()(answer)

        if self.up:
            self._loop.call_later(ASK_S, tell, None)
            self._leave(lambda: self._arrive(tell, operation()))
        else:
            tell(None)

    def send(self, operation: Callable[[], None]) -> None:
        if self.up:
            self._leave(operation)

    def bring(self, heard: Callable[[T], None], item: T) -> None:
        self._arrive(heard, item)

    def _leave(self, operation: Callable[[], object]) -> None:
        if self._dead:
            return
        arrival = self.out.arrival(self._timeline.now, self._die)
        if arrival is not None:
            cut = self._times_cut
            lost_with_it = self._die.random() < 0.5

            def arrive() -> None:
                if cut == self._times_cut or not lost_with_it:
                    operation()

            self._timeline.later(arrival - self._timeline.now, arrive)

    def _do(self, operation: Callable[[], T], answer: "asyncio.Future[T]") -> None:
        """At the broker: the outcome goes back."""
        try:
            result = operation()
        except Exception as failure:
            self._arrive(_settle, (answer, None, failure))
        else:
            self._arrive(_settle, (answer, result, None))

    def _arrive(self, heard: Callable[[T], None], item: T) -> None:
        if not self.up:
            return
        arrival = self.back.arrival(self._timeline.now, self._die)
        if arrival is None:
            return
        cut = self._times_cut

        def arrive() -> None:
            if cut == self._times_cut and not self._dead:
                self._loop.call_soon(heard, item)

        self._timeline.later(arrival - self._timeline.now, arrive)


def _settle(outcome: "tuple[asyncio.Future[Any], Any, Exception | None]") -> None:
    answer, result, failure = outcome
    if answer.done():
        return
    if failure is None:
        answer.set_result(result)
    else:
        answer.set_exception(failure)


class LaggingLog(MemoryLog):
    """Reads now and then from a replica that has not heard of the newest records yet."""

    def __init__(self, *args: Any, die: Random) -> None:
        super().__init__(*args)
        self._die = die

    async def read(self, room: RoomName, after: int, limit: int) -> list[Record]:
        records = await super().read(room, after, limit)
        if len(records) < limit and self._die.random() < 0.2:
            return records[: len(records) - self._die.randint(1, 3)]
        return records
