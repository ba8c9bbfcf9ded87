"""What a client says to a node, as types; and what a node says to a client, as plain mappings.

Inbound frames are matched on, so they are types. Outbound ones are only ever encoded, so they are
built as mappings by the functions below, which are the one place that spells their fields.
The meaning of each field is in `protocol/README.md`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from msgspec import Struct

from roomful_protocol.errors import Close, Refused
from roomful_protocol.ids import RoomName, SessionId, UserId

ClientId = str | int
Frame = Mapping[str, object]


class Since(Struct, frozen=True, gc=False):
    """From where a joining client wants to hear the room.

    `after`: everything past that seq. `last`: the newest so many events. Neither: only what is new.
    """

    after: int | None = None
    last: int | None = None


NEW = Since()


class Target(Struct, frozen=True, gc=False):
    """Whom a message is for: every connection of a user, or one session."""

    kind: Literal["user", "session"]
    value: str


class Join(Struct, frozen=True):
    room: RoomName | None
    id: ClientId | None = None
    since: Since = NEW
    epoch: str | None = None


class Leave(Struct, frozen=True):
    room: RoomName | None
    id: ClientId | None = None


class Say(Struct, frozen=True, gc=False):
    """A message of the application: `type` has a dot in it. It is asked of a room as it was said.

    `room`: as the client named it, if it did; on the way to a room, the command says which.
    `operator`: sent over the HTTP API or the command line: needs no membership.
    """

    type: str
    data: object = None
    id: ClientId | None = None
    room: RoomName | None = None
    to: tuple[Target, ...] = ()
    ephemeral: bool = False
    echo: bool = True
    operator: bool = False


class History(Struct, frozen=True):
    """Events of the past: right `before` a seq (none: the newest), or right `after` one."""

    room: RoomName | None
    id: ClientId | None = None
    before: int | None = None
    after: int | None = None
    limit: int = 50


class Members(Struct, frozen=True):
    room: RoomName | None
    id: ClientId | None = None


class Auth(Struct, frozen=True):
    token: str
    id: ClientId | None = None


class Ping(Struct, frozen=True):
    id: ClientId | None = None


class Bye(Struct, frozen=True):
    id: ClientId | None = None


ClientFrame = Join | Leave | Say | History | Members | Auth | Ping | Bye


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may do, told in `hello`: bytes per message, messages per second, rooms."""

    message_bytes: int = 65_536
    messages_per_s: float = 50
    burst: int = 100
    rooms: int = 128


@dataclass(frozen=True, slots=True)
class Durability:
    """What an acknowledged message survives, told in `hello`.

    `copies`: how many servers of the broker keep it; more than half of them have it by then.
    `power_loss_s`: what those servers may forget when they lose power together, in seconds before
    it; None: not known.
    """

    copies: int = 1
    power_loss_s: float | None = None


def _with(frame: dict[str, object], id: ClientId | None, room: RoomName | None = None) -> Frame:
    if id is not None:
        frame["id"] = id
    if room is not None:
        frame["room"] = room
    return frame


def joined(id: ClientId | None, room: RoomName, data: Frame) -> Frame:
    return _with({"type": "joined", "data": data}, id, room)


def left(id: ClientId | None, room: RoomName) -> Frame:
    return _with({"type": "left"}, id, room)


def ack(
    id: ClientId | None,
    room: RoomName | None,
    *,
    seq: int | None = None,
    data: object = None,
    duplicate: bool = False,
) -> Frame:
    frame: dict[str, object] = {"type": "ack"}
    if seq is not None:
        frame["seq"] = seq
    if duplicate:
        frame["duplicate"] = True
    if data is not None:
        frame["data"] = data
    return _with(frame, id, room)


def error(refused: Refused, id: ClientId | None = None, room: RoomName | None = None) -> Frame:
    body: dict[str, object] = {
        "code": refused.code.slug,
        "message": refused.message,
        "retry": refused.code.retry,
    }
    if refused.retry_after_ms is not None:
        body["retry_after_ms"] = refused.retry_after_ms
    return _with({"type": "error", "error": body}, id if id is not None else refused.id, room)


def members(
    id: ClientId | None, room: RoomName, listed: Sequence[Frame], count: int, seq: int
) -> Frame:
    data = {"members": listed, "count": count, "seq": seq}
    return _with({"type": "members", "data": data}, id, room)


def pong(id: ClientId | None, time_ms: int) -> Frame:
    return _with({"type": "pong", "data": {"time": time_ms}}, id)


def gap(room: RoomName, first: int, last: int, reason: str, epoch: str | None = None) -> Frame:
    """`epoch`: the room's numbers start over after `last`, in this epoch."""
    data: dict[str, object] = {"from": first, "to": last, "reason": reason}
    if epoch is not None:
        data["epoch"] = epoch
    return {"type": "gap", "room": room, "data": data}


def lagging(rooms: Sequence[RoomName], behind: int) -> Frame:
    return {"type": "lagging", "data": {"rooms": rooms, "behind": behind}}


def bye(close: Close, *, delay_ms: tuple[int, int] = (0, 0), resume: bool = True) -> Frame:
    return {
        "type": "bye",
        "data": {
            "code": close.slug,
            "message": close.message,
            "reconnect": close.reconnect,
            "delay_ms": delay_ms,
            "resume": resume,
        },
    }


def person(user: UserId, name: str, session: SessionId) -> Frame:
    """Who somebody is, as shown to others: in `from`, `members` and `presence`."""
    return {"user": user, "name": name, "session": session}
