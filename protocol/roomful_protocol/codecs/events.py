"""The JSON of what happens in a room, encoded once and shown to every client.

Which fields a frame has is told in `protocol/README.md`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import orjson

from roomful_protocol.blocks import Member
from roomful_protocol.codecs.json import dumps
from roomful_protocol.codecs.values import pack
from roomful_protocol.frames import ClientId, Frame, person
from roomful_protocol.ids import RoomName, SessionId, UserId


class Person(NamedTuple):
    """Whose event it is, outside of rooms."""

    user: UserId
    name: str
    session: SessionId


def greeting(shared: Frame) -> bytes:
    """The beginning of each `hello`: what all clients are told."""
    return dumps({"type": "hello", "data": shared})[:-2]


def hello_frame(greeting: bytes, own: Frame) -> bytes:
    """The `hello` that begins so, for one client, with what it alone is told."""
    return b"%b,%b}" % (greeting, dumps(own)[1:])


def event_frame(
    type: str,
    room: RoomName | None,
    seq: int | None = None,
    ts: int | None = None,
    sender: Member | Person | None = None,
    data: object = None,
) -> bytes:
    """An event of the application. `ts`: milliseconds since 1970.

    Ephemeral events have neither seq nor ts, targeted ones outside any room no room.
    Raises ValueError if `data` has no place in a message.
    """
    # Pieced together, as most of it has been encoded before. (Nor is it orjson's own result, which
    # holds 4 kB or more however short it is: rooms keep these for long.)
    by = b"" if sender is None else _by(sender.user, sender.name, sender.session)
    what = b"" if data is None else b',"data":' + dumps(data)
    if seq is None:
        return b"%b%b%b}" % (_kind(type, room), by, what)
    return b'%b,"seq":%d,"ts":%d%b%b}' % (_kind(type, room), seq, ts or 0, by, what)


@lru_cache(maxsize=4096)
def _kind(type: str, room: RoomName | None) -> bytes:
    """The beginning of an event's frame."""
    return dumps({"type": type} if room is None else {"type": type, "room": room})[:-1]


@lru_cache(maxsize=16_384)
def _by(user: UserId, name: str, session: SessionId) -> bytes:
    return b',"from":' + dumps(person(user, name, session))


def ack_frame(id: ClientId, room: RoomName, seq: int) -> bytes:
    """`frames.ack` of a message that became the event `seq`, and to which nothing was replied."""
    if type(id) is int:
        return b'{"type":"ack","seq":%d,"id":%d,"room":%b}' % (seq, id, _quoted(room))
    return b'{"type":"ack","seq":%d,"id":%b,"room":%b}' % (seq, dumps(id), _quoted(room))


_quoted = lru_cache(maxsize=4096)(dumps)


def presence_frame(
    room: RoomName,
    seq: int,
    ts: int,
    joined: Sequence[Frame],
    left: Sequence[Frame],
    count: int,
    sample: int | None = None,
) -> bytes:
    """Who came and who went (each a `frames.person`), and how many members there are now.

    With `sample`, only so many of each are named, and `joined_count` and `left_count` say how many
    there were.
    """
    data: dict[str, object] = {"joined": joined[:sample], "left": left[:sample], "count": count}
    if sample is not None:
        data["joined_count"] = len(joined)
        data["left_count"] = len(left)
    return event_frame("presence", room, seq, ts, data=data)


def history_frame(
    id: ClientId | None, room: RoomName, events: Sequence[bytes], more: bool
) -> bytes:
    """The answer to `history`, of events that exist as JSON already."""
    frame: dict[str, object] = {"type": "history"}
    if id is not None:
        frame["id"] = id
    frame["room"] = room
    frame["data"] = {"events": [orjson.Fragment(event) for event in events], "more": more}
    return dumps(frame)


def with_prev(frame_json: bytes, prev: int) -> bytes:
    """`frame_json` with the field `prev`: the last seq before it that was for this client."""
    return b'%b,"prev":%d}' % (frame_json[:-1], prev)


def checked_data(data: object) -> None:
    """Raises ValueError unless clients of both codecs can be sent `data` (a handler's reply)."""
    dumps(data)
    pack(data)
