"""What a client is told, as types; made from the node's frames."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Frame = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Person:
    """One connection of a user, as others see it."""

    user: str
    name: str
    session: str

    @classmethod
    def of(cls, person: Frame) -> "Person":
        return cls(person["user"], person["name"], person["session"])


@dataclass(frozen=True, slots=True)
class Message:
    """An event of the application.

    `sender` is None where the room itself speaks. Ephemeral messages have neither `seq` nor `ts`
    (milliseconds since 1970), those from outside any room no `room`.
    """

    type: str
    data: Any
    room: str | None
    sender: Person | None
    seq: int | None
    ts: int | None


@dataclass(frozen=True, slots=True)
class Presence:
    """Who came and who went; in a large room a sample. `count`: members after it."""

    room: str
    seq: int
    ts: int
    joined: tuple[Person, ...]
    left: tuple[Person, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Events `first` to `last` of the room will not come.

    After the reasons `epoch` and `lost` the numbers begin anew.
    """

    room: str
    first: int
    last: int
    reason: str


Event = Message | Presence | Gap


@dataclass(frozen=True, slots=True)
class Ack:
    """A message took effect. `seq`: as this event; `data`: what the room replied.

    `duplicate`: under the same id it had done so before. `delivered`: the connections that a
    targeted message has reached.
    """

    seq: int | None
    data: Any
    duplicate: bool

    @property
    def delivered(self) -> int | None:
        return self.data.get("delivered") if isinstance(self.data, dict) else None

    @classmethod
    def of(cls, frame: Frame) -> "Ack":
        return cls(frame.get("seq"), frame.get("data"), frame.get("duplicate", False))


@dataclass(frozen=True, slots=True)
class Past:
    """Events of the past, oldest first. `more`: there are further ones in that direction."""

    events: tuple[Event, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """Who was there at `seq`; a sample in a large room, of `count` in all."""

    members: tuple[Person, ...]
    count: int
    seq: int


def event_of(frame: Frame) -> Message | Presence:
    """The event in a frame of a room, or of a message outside any."""
    if frame["type"] == "presence":
        data = frame["data"]
        return Presence(
            frame["room"],
            frame["seq"],
            frame["ts"],
            people(data["joined"]),
            people(data["left"]),
            data["count"],
        )
    sender = frame.get("from")
    return Message(
        frame["type"],
        frame.get("data"),
        frame.get("room"),
        None if sender is None else Person.of(sender),
        frame.get("seq"),
        frame.get("ts"),
    )


def people(listed: Any) -> tuple[Person, ...]:
    return tuple([Person.of(person) for person in listed])
