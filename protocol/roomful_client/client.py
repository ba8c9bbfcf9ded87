"""The client: one session with a cluster, over as many connections as it takes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from secrets import SystemRandom
from typing import Any, Final, Self
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import aiohttp
import structlog

from roomful_client.errors import RoomfulError
from roomful_client.events import Ack, Message
from roomful_client.pace import Chance
from roomful_client.place import Place
from roomful_client.room import Room, Stir, To
from roomful_client.state import Outcome, Settled, State, Stirred
from roomful_client.wires import CLOSE_S, Ending, Wires

log = structlog.get_logger()

Token = str | Callable[[], Awaitable[str]]
"""What proves who we are, or where a fresh one comes from, asked before each connection."""

_CLOSED: Final = "The client was closed."


_chance: Final = SystemRandom().random


def _uuid() -> str:
    return str(uuid4())


class Client:
    """A session; `async with Client("ws://HOST", name="Ann") as client`.

    A lost connection is made again, to whatever node answers: the session is resumed, every room
    goes on after the last event it has received, and what was not answered is sent again under the
    same id. `url` may leave out `/ws`; `user`, `name` and `token` say who we are. `capacity`:
    events of one room that wait to be read; `waiting`: requests without an answer; `open_s`:
    seconds for the first connection, and for each `hello`.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        name: str | None = None,
        token: Token | None = None,
        capacity: int = 1024,
        waiting: int = 512,
        open_s: float = 10.0,
        new_id: Callable[[], str] = _uuid,
        chance: Chance = _chance,
    ) -> None:
        self._url, self._token, self._open_s = _address(url), token, open_s
        self._state = State(
            new_id, chance, user=user, name=name, capacity=capacity, waiting=waiting
        )
        self._rooms: dict[str, Room] = {}
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._stir = Stir()
        self._http: aiohttp.ClientSession | None = None
        self._wires: Wires | None = None
        self._task: asyncio.Task[None] | None = None
        self._problem = ""

    # -- its life ----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Connect. Raises RoomfulError: `unreachable`, or why the node turns us away."""
        self._http = aiohttp.ClientSession()
        self._wires = Wires(self._http, self._url, self._state, self._tell)
        self._task = asyncio.create_task(self._run(self._wires), name="roomful client")
        try:
            async with asyncio.timeout(self._open_s):
                await self._stir.until(lambda: self.connected or self._state.over is not None)
        except TimeoutError:
            await self.close()
            message = f"No node answers at {self._url}: {self._problem}"
            raise RoomfulError("unreachable", message, retry=True) from None
        except asyncio.CancelledError:
            await self.close()
            raise
        if self._state.over is not None:
            await self.close()
            raise self._state.over
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the session cleanly: others see us leave at once. What still waits is refused."""
        if self._task is None or self._wires is None or self._http is None:
            return
        task, self._task = self._task, None
        try:
            if self.connected:
                await self._wires.bye()
                await asyncio.wait({task}, timeout=CLOSE_S)
            task.cancel()
            await asyncio.wait({task})
        finally:
            task.cancel()
            await self._http.close()
        if not task.cancelled() and (problem := task.exception()) is not None:
            raise problem

    async def _run(self, wires: Wires) -> None:
        try:
            while True:
                ending = await self._connection(wires)
                pause = self._state.lost(_now(), *ending)
                self._problem = ending.reason
                log.info("client.lost", code=ending.code, reason=ending.reason, pause_s=pause)
                if pause is None:
                    return
                await asyncio.sleep(pause)
        finally:
            for outcome in self._state.end(RoomfulError("closed", _CLOSED)):
                self._tell(outcome)

    async def _connection(self, wires: Wires) -> Ending:
        token = self._token
        if callable(token):
            try:
                token = await token()
            except Exception as problem:
                log.warning("client.token_failed", exc_info=True)
                return Ending(None, f"No token: {problem}")
        return await wires.run(token, self._open_s)

    def _tell(self, outcome: Outcome) -> None:
        match outcome:
            case Settled(id, answer):
                future = self._answers.pop(id, None)
                if future is None or future.done():
                    return
                if isinstance(answer, RoomfulError):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
            case Stirred(place):
                self._stirred(place)

    def _stirred(self, place: Place | None) -> None:
        if place is None:
            self._stir.stir()
            return
        room = self._rooms.get(place.name)
        if room is not None:
            room.stirred()
        if place.ending is not None:
            self._rooms.pop(place.name, None)

    # -- what a program asks -----------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self._state.session.open

    @property
    def user(self) -> str | None:
        """The id by which others know us; the node may have decided it."""
        return self._state.session.user

    @property
    def session(self) -> str | None:
        hello = self._state.session.hello
        return None if hello is None else hello["session"]

    async def join(self, room: str, *, since: int | str = "new", epoch: str | None = None) -> Room:
        """Be a member of `room` until it is left, over lost connections too.

        `since`: a seq (with the `epoch` it belongs to) to hear everything after it, "last:N" or
        "new". A room that we are in already is returned as it is. Raises RoomfulError if the node
        turns us away.
        """
        if self._state.over is not None:
            raise self._state.over
        joined = self._rooms.get(room)
        if joined is None:
            joined = self._rooms[room] = Room(self._state.join(room, since, epoch), self)
            self.stir()
        try:
            await joined.entered()
        except asyncio.CancelledError:
            self._drop(room)
            raise
        return joined

    async def send(self, type: str, data: object = None, *, to: To, id: str | None = None) -> Ack:
        """A message outside any room; `Ack.delivered` counts the connections reached.

        Raises RoomfulError: `unknown_target` if nobody is there.
        """
        return Ack.of(await self.request({"type": type, "data": data, "to": to}, id))

    async def auth(self, token: str) -> None:
        """Give the node a fresh token for the same user. Raises RoomfulError."""
        await self.request({"type": "auth", "token": token})

    async def messages(self) -> AsyncIterator[Message]:
        """Messages for us from outside rooms, until the client is closed.

        They wait in a bounded queue; when it is full the oldest are dropped. Raises RoomfulError
        when the node has ended the session.
        """
        state = self._state
        while True:
            await self._stir.until(lambda: bool(state.direct) or state.over is not None)
            if not state.direct:
                break
            yield state.direct.popleft()
        if state.over is not None and state.over.code != "closed":
            raise state.over

    # -- for its rooms -----------------------------------------------------------------------------

    async def request(self, frame: dict[str, object], id: str | None = None) -> dict[str, Any]:
        """The node's answer to `frame`. Raises RoomfulError, and ValueError for unfit data."""
        id = self._state.ask({key: frame[key] for key in frame if frame[key] is not None}, id)
        self.stir()
        return await self._answer(id)

    async def _answer(self, id: str) -> dict[str, Any]:
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[id] = future
        try:
            return await future
        finally:
            if self._answers.pop(id, None) is not None:
                self._state.asks.forget(id)

    def signal(self, frame: dict[str, object]) -> bool:
        sent = self._state.signal(frame, _now())
        self.stir()
        return sent

    async def leave(self, name: str) -> None:
        id = self._drop(name)
        if id is None:
            return
        # Refused, too, means that we are not in it.
        with suppress(RoomfulError):
            await self._answer(id)

    def stir(self) -> None:
        if self._wires is not None:
            self._wires.stir()

    def _drop(self, name: str) -> str | None:
        id, outcomes = self._state.leave(name)
        for outcome in outcomes:
            self._tell(outcome)
        self.stir()
        return id


def _now() -> float:
    return asyncio.get_running_loop().time()


def _address(url: str) -> str:
    parts = urlsplit(url)
    path = parts.path if parts.path.strip("/") else "/ws"
    return urlunsplit(parts._replace(scheme=parts.scheme.replace("http", "ws"), path=path))
