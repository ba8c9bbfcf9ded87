"""Well-behaved clients on simulated sockets: the product's own, as `roomful check` has them."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any, Final

from tests.simulation.sockets import Json, Socket

from roomful.check.crowd import Crowd
from roomful.check.recorder import Recorder
from roomful.check.visitor import HELLO_S, PAUSE_S, Visitor
from roomful_client.state import Outcome, State
from roomful_client.wires import Ending
from roomful_protocol.errors import HEARTBEAT

Connect = Callable[[str, Random, Callable[[Json], None], Callable[[int | None], None]], Socket]
"""Makes a socket to the node of that name, not open yet."""
SLOW: Final = (2_000, 20_000)
"""Bytes a second that a slow client takes."""


class Line:
    """One connection after the other for a `State`, as `Wires` is over a real network."""

    def __init__(
        self,
        node: str,
        connect: Connect,
        state: State,
        tell: Callable[[Outcome], None],
        chance: Random,
    ) -> None:
        self._node, self._connect, self._state, self._tell = node, connect, state, tell
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int | None] = self._loop.create_future()
        self._socket: Socket | None = None
        self._wake: asyncio.TimerHandle | None = None
        self._heard_at = 0.0

    async def run(self, hello_s: float) -> Ending:
        """Connect and return how that ended."""
        self._socket = self._connect(self._node, self._chance, self._hear, self._end)
        query = self._state.session.query(None)
        self._socket.connect(tuple(query.items()))
        if self._chance.random() < 0.1:
            self._socket.pace = self._chance.uniform(*SLOW)
        try:
            return await self._listen(hello_s)
        finally:
            self._socket.cut()
            if self._wake is not None:
                self._wake.cancel()
            self._socket = None

    async def _listen(self, hello_s: float) -> Ending:
        self._heard_at, pinged = self._loop.time(), False
        while True:
            before, patience_s = self._heard_at, self._state.session.heartbeat_s or hello_s
            await asyncio.wait([self._ended], timeout=patience_s)
            if self._ended.done():
                return Ending(self._ended.result(), "The connection broke.")
            if self._heard_at > before:
                pinged = False
            elif pinged or self._state.session.heartbeat_s is None:
                return Ending(HEARTBEAT.code, "Nothing heard any more.")
            else:
                pinged = True
                self._say(b'{"type":"ping"}')

    def _say(self, data: bytes) -> None:
        if self._socket is not None:
            self._socket.send(data)

    def _end(self, code: int | None) -> None:
        if not self._ended.done():
            self._ended.set_result(code)

    def _hear(self, frame: Json) -> None:
        if self._socket is None:
            return
        self._heard_at = self._loop.time()
        outcomes = self._state.hear(frame, self._loop.time())
        for outcome in outcomes:
            self._tell(outcome)
        if outcomes:
            self.stir()

    def stir(self) -> None:
        """Something may be due."""
        if self._wake is not None:
            self._wake.cancel()
        self._wake = self._loop.call_later(0, self._write)

    def _write(self) -> None:
        self._wake = None
        if self._socket is None:
            return
        for data in self._state.due(self._loop.time()):
            self._say(data)
        if self._state.wake_at is not None:
            self._wake = self._loop.call_at(self._state.wake_at, self._write)

    def abort(self) -> None:
        if self._socket is not None:
            self._socket.cut()

    async def bye(self) -> None:
        self._say(b'{"type":"bye"}')


class Guest(Visitor):
    """A visitor who comes over simulated sockets."""

    connect: Connect

    def join(self, room: str, since: int | str, epoch: str | None = None) -> None:
        # One thing after the other, or the verdict could not tell which was meant.
        if room not in self.state._leaving:
            super().join(room, since, epoch)

    def leave(self, room: str) -> None:
        # Its client gives up what waits for an answer then, though it may take effect.
        waits = any(ask.room == room for ask in self.state.asks)
        if self.state.places[room].joined and not waits:
            super().leave(room)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            repeating = tasks.create_task(self._repeat(), name=f"{self.name}: repeats")
            while True:
                await self._welcome.wait()
                self._url = self._another(self._url)
                line = Line(self._url, self.connect, self.state, self._tell, self._chance)
                self._wires: Any = line
                ending = await line.run(HELLO_S)
                self._wires = None
                windowed = bool(self.state.session.bye.get("delay_ms"))
                pause_s = self.state.lost(loop.time(), *ending[:2])
                if pause_s is None:
                    break
                await asyncio.sleep(pause_s if windowed else min(pause_s, PAUSE_S))
            repeating.cancel()


class Guests(Crowd):
    """The crowd, of guests."""

    def __init__(self, connect: Connect, *args: Any) -> None:
        super().__init__(*args)
        self._connect = connect

    def invite(self, name: str) -> tuple[Visitor, Random]:
        chance = Random(f"{self._seed} {name}")  # noqa: S311
        guest = Guest(name, self._where, Recorder(self._now, self._contents), chance, binary=False)
        guest.connect = self._connect
        self.visitors.append(guest)
        self._tasks.start(guest.run(), f"{name}: connects")
        return guest, chance
