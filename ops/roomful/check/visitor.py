"""One well-behaved client: the product's own, over connections that are broken on purpose."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import aiohttp

from roomful.check.history import History
from roomful.check.recorder import RecordedState, Recorder
from roomful_client.errors import RoomfulError
from roomful_client.state import Outcome, Settled
from roomful_client.wires import Wires

HELLO_S: Final = 3.0
"""A node that says nothing for so long is given up for another one."""
PAUSE_S: Final = 1.0
"""A lost connection is replaced at the latest after this, unless its node asked for longer: what is
measured is the cluster, not our patience."""
REPEAT_S: Final = 0.5
HANDS: Final = 64
"""Requests that may be under way; a client that has more says nothing new."""


@dataclass(frozen=True, slots=True)
class Where:
    """The nodes that a visitor may go to, which change, and its token."""

    urls: Sequence[str]
    token: str | None = None


class Visitor:
    """Its connection, its session, its rooms. Run it with `run`; `name` is also its user."""

    def __init__(
        self,
        name: str,
        where: Where,
        recorder: Recorder,
        chance: Random,
        *,
        binary: bool,
    ) -> None:
        self.name = name
        self.recorder = recorder
        self.gone = False
        self.state = RecordedState(recorder, self._new_id, chance.random, name)
        self.seen: dict[str, tuple[str, int | None]] = {}
        """The epoch of each room that was left, and how far it was heard, to go on there."""
        self._where, self._chance, self._binary = where, chance, binary
        self._ids = 0
        self._frames: dict[str, dict[str, Any]] = {}
        self._again: deque[tuple[float, str]] = deque()
        self._wires: Wires | None = None
        self._welcome = asyncio.Event()
        self._welcome.set()
        self._url = ""

    def _new_id(self) -> str:
        self._ids += 1
        return f"{self.name}-{self._ids:08}-{self._chance.getrandbits(32):08x}"

    # -- what it wants -----------------------------------------------------------------------------

    def ask(self, frame: dict[str, Any], id: str | None = None) -> None:
        """Have `frame` sent until it is answered for good, under one id."""
        try:
            id = self.state.ask(frame, id)
        except RoomfulError:
            # The room was left in the meantime, or all is over: then there is nothing to say.
            return
        self._frames[id] = frame
        self._stir()

    @property
    def busy(self) -> bool:
        return len(self.state.asks) >= HANDS

    @property
    def settled(self) -> bool:
        """Everything was answered, and it is in every room that it wants."""
        joined = all(place.joined for place in self.state.places.values())
        return self.state.session.open and joined and not self.state.asks and not self._again

    def join(self, room: str, since: int | str, epoch: str | None = None) -> None:
        self.state.join(room, since, epoch)
        self._stir()

    def leave(self, room: str) -> None:
        place = self.state.places.get(room)
        if place is not None:
            self.seen[room] = (place.epoch or "", place.position)
        self.state.leave(room)
        self._stir()

    def signal(self, frame: dict[str, Any]) -> None:
        """Say it now or never."""
        if self.state.signal(frame, asyncio.get_running_loop().time()):
            self._stir()

    def _stir(self) -> None:
        if self._wires is not None:
            self._wires.stir()

    # -- what is done to it ------------------------------------------------------------------------

    def drop(self) -> None:
        """Its connection breaks."""
        self.recorder.broke()
        if self._wires is not None:
            self._wires.abort()

    def stay_away(self) -> None:
        """Its connection breaks, and it does not come back until it is `welcome`."""
        self._welcome.clear()
        self.drop()

    def welcome(self) -> None:
        self._welcome.set()

    async def part(self) -> None:
        """A clean end."""
        self._welcome.clear()
        self.recorder.parting = True
        if self._wires is not None:
            await self._wires.bye()

    # -- its connections ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Be connected, again and again, until cancelled or told never to come back."""
        loop = asyncio.get_running_loop()
        async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
            repeating = tasks.create_task(self._repeat(), name=f"{self.name}: repeats")
            while True:
                await self._welcome.wait()
                self._url = self._another(self._url)
                address = f"{self._url.replace('http', 'ws', 1)}/ws"
                self._wires = Wires(http, address, self.state, self._tell, binary=self._binary)
                ending = await self._wires.run(self._where.token, HELLO_S)
                self._wires = None
                windowed = bool(self.state.session.bye.get("delay_ms")) or any(ending.delay_ms)
                pause_s = self.state.lost(loop.time(), *ending)
                if pause_s is None:
                    break
                await asyncio.sleep(pause_s if windowed else min(pause_s, PAUSE_S))
            repeating.cancel()

    def _another(self, than: str) -> str:
        """Any node but the one that was just lost, if there are others."""
        others = [url for url in self._where.urls if url != than]
        return self._chance.choice(others or list(self._where.urls))

    def _tell(self, outcome: Outcome) -> None:
        for place in self.state.places.values():
            while place.inbox:
                place.take()
        self.state.direct.clear()
        if not isinstance(outcome, Settled):
            return
        frame = self._frames.pop(outcome.id, None)
        if frame is not None and isinstance(outcome.answer, RoomfulError) and outcome.answer.retry:
            # The client has tried often enough; we want to know, under the same id.
            self._frames[outcome.id] = frame
            self._again.append((asyncio.get_running_loop().time() + REPEAT_S, outcome.id))

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(REPEAT_S)
            now = asyncio.get_running_loop().time()
            while self._again and self._again[0][0] <= now:
                _, id = self._again.popleft()
                if (frame := self._frames.pop(id, None)) is not None:
                    self.ask(frame, id)

    @property
    def user(self) -> str:
        return self.state.session.user or self.name

    @property
    def history(self) -> History:
        return History(self.name, self.user, self.recorder.events, self.gone)
