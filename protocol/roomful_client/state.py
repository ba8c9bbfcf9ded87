"""One client's side of the protocol over any number of connections, without sockets or clocks.

What the node said goes in by `hear`, the end of a connection by `lost`; what to send comes out of
`due`. Times are seconds of any one clock.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from roomful_client.asks import Asks
from roomful_client.errors import RoomfulError
from roomful_client.events import Frame, Message, event_of
from roomful_client.pace import Allowance, Chance
from roomful_client.place import Place
from roomful_client.session import Session
from roomful_protocol.codecs.json import dumps

_STRAYS: Final = 3


@dataclass(frozen=True, slots=True)
class Settled:
    """The request `id` was answered, or will not be."""

    id: str
    answer: dict[str, Any] | RoomfulError


@dataclass(frozen=True, slots=True)
class Stirred:
    """Something has changed for `place`, or (None) for messages outside rooms."""

    place: Place | None


Outcome = Settled | Stirred


class State:
    """A client: its session, its rooms, its open requests.

    `new_id` makes ids that nobody else has (16 to 64 characters). `capacity` bounds the events of a
    room that wait to be read, `waiting` the requests without an answer.
    """

    def __init__(
        self,
        new_id: Callable[[], str],
        chance: Chance,
        *,
        user: str | None = None,
        name: str | None = None,
        capacity: int = 1024,
        waiting: int = 512,
    ) -> None:
        self.session = Session(user, name, chance)
        self.over: RoomfulError | None = None
        self.places: dict[str, Place] = {}
        self.asks = Asks(waiting, chance)
        self.direct: deque[Message] = deque(maxlen=capacity)
        self.wake_at: float | None = None
        self._new_id, self._chance, self._capacity = new_id, chance, capacity
        self._allowance: Allowance | None = None
        self._signals: list[bytes] = []
        self._leaving: dict[str, str] = {}

    # -- what the program wants --------------------------------------------------------------------

    def join(self, name: str, since: int | str, epoch: str | None) -> Place:
        """The room, from now on wanted; one that is wanted already stays as it is."""
        place = self.places.get(name)
        if place is None:
            place = self.places[name] = Place(name, since, epoch, self._capacity, self._chance)
        return place

    def leave(self, name: str) -> tuple[str | None, list[Outcome]]:
        """Want it no longer: the id of the request that says so, or None if it was not wanted, and
        what becomes of other requests to that room."""
        place = self.places.pop(name, None)
        if place is None or self.over is not None:
            return None, []
        error = RoomfulError("left", f"{name} was left.")
        place.end(error)
        outcomes = self._abandoned(name, error)
        id = self._new_id()
        # It needs no membership: a session that comes back is in all its rooms still.
        self.asks.add(id, None, dumps({"type": "leave", "id": id, "room": name}))
        self._leaving[id] = name
        return id, [*outcomes, Stirred(place)]

    def ask(self, frame: dict[str, object], id: str | None = None) -> str:
        """Send `frame`, as often as it takes; the id under which it will be `Settled`.

        Raises RoomfulError if it cannot wait, ValueError if its data has no place in JSON.
        """
        if self.over is not None:
            raise self.over
        id = id or self._new_id()
        if self.asks.full:
            raise RoomfulError("queue_full", "Too much is waiting for answers.", retry=True)
        if id in self.asks:
            raise RoomfulError("bad_data", f"A message with the id {id} is under way already.")
        room = frame.get("room")
        if isinstance(room, str) and room not in self.places:
            raise RoomfulError("left", f"{room} was left.")
        data = dumps({**frame, "id": id})
        if len(data) > self.session.message_bytes:
            raise RoomfulError("too_big", f"This message has {len(data)} bytes.")
        self.asks.add(id, room if isinstance(room, str) else None, data)
        return id

    def signal(self, frame: dict[str, object], now: float) -> bool:
        """Send `frame` now or never; False: never."""
        place = self.places.get(str(frame["room"]))
        if place is None or not place.joined or self._allowance is None:
            return False
        if not self._allowance.take(now):
            return False
        self._signals.append(dumps(frame))
        return True

    @property
    def awaits(self) -> bool:
        """Whether an answer is due that somebody may be waiting for."""
        return bool(self.asks) or any(
            not place.joined and place.ending is None for place in self.places.values()
        )

    @property
    def behind(self) -> bool:
        """Whether a room's reader does not keep up."""
        return any(place.full and place.followed for place in self.places.values())

    @property
    def blocked(self) -> bool:
        """Whether to stop reading: a room's reader is behind, and no answer is due.

        While one is due reading goes on, since who waits for it may be that very reader; a full
        room then takes nothing, and hears the rest from the log once it was read.
        """
        return self.behind and not self.awaits

    # -- the connection ----------------------------------------------------------------------------

    def due(self, now: float) -> list[bytes]:
        """What to send now. Ask again at `wake_at`, and whenever something has changed."""
        self.wake_at = None
        if self._allowance is None:
            return []
        out, self._signals = self._signals, []
        wake = [self._joins(now, self._allowance, out)]
        going, later = self.asks.due(now, self._ready, self._allowance)
        out += [ask.data for ask in going]
        self.wake_at = min([at for at in (*wake, later) if at is not None], default=None)
        return out

    def _joins(self, now: float, allowance: Allowance, out: list[bytes]) -> float | None:
        wake: list[float] = []
        leaving = set(self._leaving.values())
        for place in self.places.values():
            # A leave that is under way is repeated after a lost connection: it must not come last.
            if not place.wants_join or place.name in leaving:
                continue
            if place.not_before > now:
                wake.append(place.not_before)
            elif allowance.take(now):
                out.append(dumps(place.join(self._new_id())))
            else:
                wake.append(allowance.next_at(now))
        return min(wake, default=None)

    def _ready(self, room: str | None) -> bool:
        return room is None or (room in self.places and self.places[room].joined)

    def lost(
        self, now: float, code: int | None, reason: str, delay_ms: tuple[float, float] = (0, 0)
    ) -> float | None:
        """The connection has ended, or none was made: seconds until the next attempt; None: never.

        `code` is that of the close, if there was one, `delay_ms` as in a `bye`. If it is never,
        the client is `over`, and `end` tells everybody.
        """
        self._allowance = None
        self._signals.clear()
        self.asks.lost()
        for place in self.places.values():
            place.lost()
        verdict = self.session.ended(now, code, reason, delay_ms)
        if isinstance(verdict, RoomfulError):
            self.over = verdict
            return None
        return verdict

    def end(self, error: RoomfulError) -> list[Outcome]:
        """Nothing more will come: what everybody who waits is to be told."""
        self.over = self.over or error
        settled: list[Outcome] = [Settled(ask.id, self.over) for ask in self.asks]
        for ask in list(self.asks):
            self.asks.forget(ask.id)
        for place in self.places.values():
            place.end(self.over)
        return [*settled, *map(Stirred, self.places.values()), Stirred(None)]

    # -- what is heard -----------------------------------------------------------------------------

    def hear(self, frame: dict[str, Any], now: float) -> list[Outcome]:
        """What a frame of the node changes. Raises LookupError, TypeError or ValueError for one
        that is not of this protocol."""
        kind, id, room = frame["type"], frame.get("id"), frame.get("room")
        match kind:
            case "hello":
                return self._welcome(frame["data"], now)
            case "bye":
                self.session.bye = frame["data"]
                return []
            case "error" if self._strayed(frame, now):
                return []
            case _ if id in self.asks:
                return self._settle(str(id), frame, now)
            case _ if room is not None:
                return self._hear_in(self.places.get(room), frame, now)
            case str() if "." in kind:
                self.direct.append(_message(frame))
                return [Stirred(None)]
            case _:
                return []

    def _welcome(self, hello: dict[str, Any], now: float) -> list[Outcome]:
        limits = hello["limits"]
        self._allowance = Allowance(limits["messages_per_s"], limits["burst"], now)
        self.session.opened(hello, now)
        return [Stirred(None)]

    def _hear_in(self, place: Place | None, frame: Frame, now: float) -> list[Outcome]:
        if place is None:
            return []
        place.hear(frame, now)
        if place.ending is not None:
            del self.places[place.name]
            return [*self._abandoned(place.name, place.ending), Stirred(place)]
        return [Stirred(place)]

    def _abandoned(self, room: str, error: RoomfulError) -> list[Outcome]:
        gone = [ask.id for ask in self.asks if ask.room == room]
        for id in gone:
            self.asks.forget(id)
        return [Settled(id, error) for id in gone]

    def _settle(self, id: str, frame: dict[str, Any], now: float) -> list[Outcome]:
        error = RoomfulError.of(frame["error"]) if frame["type"] == "error" else None
        if error and error.retry and self.asks.again(id, now, error.retry_after_ms):
            return []
        self.asks.forget(id)
        self._leaving.pop(id, None)
        return [Settled(id, error or frame)]

    def _strayed(self, frame: Frame, now: float) -> bool:
        """Whether the node has lost us from a room we are in: then join, and send that again."""
        id, place = frame.get("id"), self.places.get(frame.get("room", ""))
        if frame["error"]["code"] != "not_joined" or place is None or id not in self.asks:
            return False
        ask = next(ask for ask in self.asks if ask.id == id)
        if ask.attempts >= _STRAYS or not self.asks.again(ask.id, now, 0):
            return False
        place.joined, place.listening, place.wants_join = False, False, True
        return True


def _message(frame: Frame) -> Message:
    event = event_of(frame)
    if not isinstance(event, Message):
        raise TypeError("presence belongs to a room")
    return event
