"""A room as a program uses it: read its events, send to it, look at its past."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

from roomful_client.events import Ack, Event, Listing, Past, Person, event_of, people
from roomful_client.place import Place

Target = Mapping[str, str]
To = Target | Sequence[Target]
"""`{"user": U}`, `{"session": S}`, or several of these."""


class Line(Protocol):
    """What a room needs of its client."""

    async def request(self, frame: dict[str, object], id: str | None = None) -> dict[str, Any]: ...
    def signal(self, frame: dict[str, object]) -> bool: ...
    async def leave(self, name: str) -> None: ...
    def stir(self) -> None: ...


class Stir:
    """Wakes all who wait for something to become true. Nothing is lost between two waits: the
    condition is looked at again each time."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def stir(self) -> None:
        self._event.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._event.clear()
            await self._event.wait()


class Room:
    """One room that the client is in; made by `Client.join`.

    `async for event in room` takes its events in the order of the log. They wait in a bounded
    queue; when that is full the client stops reading, so that the node holds the rest back. The
    iteration ends when the room was left or the client closed, and raises RoomfulError when the
    node has ended either.
    """

    def __init__(self, place: Place, line: Line) -> None:
        self._place, self._line = place, line
        self._stir = Stir()

    @property
    def name(self) -> str:
        return self._place.name

    @property
    def position(self) -> int | None:
        """The seq of the newest event received; with `epoch`, what to give to `join` next time."""
        return self._place.position

    @property
    def epoch(self) -> str | None:
        return self._place.epoch

    @property
    def members(self) -> tuple[Person, ...]:
        """Who is there, as far as was received; a sample in a large room."""
        return tuple(self._place.members.values())

    @property
    def count(self) -> int:
        """How many members there are, as far as was received."""
        return self._place.count

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._events()

    async def _events(self) -> AsyncIterator[Event]:
        place = self._place
        if place.followed:
            raise RuntimeError(f"{place.name} is being read already.")
        place.followed = True
        try:
            while True:
                await self._stir.until(lambda: bool(place.inbox) or place.ending is not None)
                if not place.inbox:
                    break
                event = place.take()
                self._line.stir()
                yield event
        finally:
            place.followed = False
            self._line.stir()
        if place.ending is not None and place.ending.code not in ("left", "closed"):
            raise place.ending

    async def send(
        self,
        type: str,
        data: object = None,
        *,
        to: To | None = None,
        echo: bool = True,
        id: str | None = None,
    ) -> Ack:
        """Say something, over as many connections as it takes; returns when it took effect.

        `to`: for these members only. `echo`: hear it oneself. `id`: one's own, of 16 to 64
        characters, to send the same message again later. Raises RoomfulError; when cancelled, the
        message may or may not take effect.
        """
        frame = {"type": type, "room": self.name, "data": data, "to": to}
        if not echo:
            frame["echo"] = False
        return Ack.of(await self._line.request(frame, id))

    def signal(self, type: str, data: object = None, *, echo: bool = False) -> bool:
        """Say something of the moment, heard by those who are there now. False: not sent."""
        return self._line.signal(
            {"type": type, "room": self.name, "data": data, "ephemeral": True, "echo": echo}
        )

    async def history(
        self, *, before: int | None = None, after: int | None = None, limit: int = 50
    ) -> Past:
        """Events right before a seq (without: the newest), or right after one. Raises
        RoomfulError."""
        frame = {"type": "history", "room": self.name, "before": before, "after": after}
        data = (await self._line.request({**frame, "limit": limit}))["data"]
        return Past(tuple([event_of(event) for event in data["events"]]), data["more"])

    async def listing(self) -> Listing:
        """Who is there, as the node has it now. Raises RoomfulError."""
        data = (await self._line.request({"type": "members", "room": self.name}))["data"]
        return Listing(people(data["members"]), data["count"], data["seq"])

    async def leave(self) -> None:
        """Be no member any longer; what was received can still be read."""
        await self._line.leave(self.name)

    # -- for the client ----------------------------------------------------------------------------

    def stirred(self) -> None:
        """Something has changed for its place."""
        self._stir.stir()

    async def entered(self) -> None:
        """Return once joined. Raises RoomfulError if that is refused."""
        place = self._place
        await self._stir.until(lambda: place.joined or place.ending is not None)
        if place.ending is not None:
            raise place.ending
