"""The query of `/ws?...`: who connects, to which rooms, from where, or as which session."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from msgspec import Struct

from roomful_protocol.codecs.inbound import epoch_of, since_of
from roomful_protocol.errors import Code, Refused
from roomful_protocol.frames import NEW, Since
from roomful_protocol.ids import (
    RoomName,
    SessionId,
    UserId,
    checked_room,
    checked_text,
    checked_user,
)


class Query(Struct, frozen=True):
    """What a client asks for while it connects.

    `rooms` are joined at once; `since` and `epoch` are meant for the only one of them. `session`
    with `secret` resumes a session.
    """

    rooms: tuple[RoomName, ...] = ()
    name: str | None = None
    user: UserId | None = None
    token: str | None = None
    since: Since = NEW
    epoch: str | None = None
    session: SessionId | None = None
    secret: str | None = None

    def __repr__(self) -> str:
        # What proves who somebody is must not get into a log.
        return f"Query(rooms={self.rooms!r}, name={self.name!r}, user={self.user!r})"


def parse_query(pairs: Iterable[tuple[str, str]]) -> Query:
    """The query made of decoded `pairs`; unknown ones are ignored, empty ones count as absent.

    Raises Refused naming the parameter that is wrong.
    """
    rooms: dict[RoomName, None] = {}
    given: dict[str, Any] = {}
    for key, value in pairs:
        if key == "room":
            rooms[checked_room(value)] = None
        elif key in given:
            raise Refused(Code.BAD_DATA, f"The parameter {key} must be given once.")
        elif value and (read := _ONCE.get(key)) is not None:
            given[key] = read(value)
            # After what `read` may have to say, which may be more to the point.
            checked_text(value, f"The parameter {key}")
    if len(rooms) != 1 and ("since" in given or "epoch" in given):
        raise Refused(Code.BAD_DATA, "since and epoch go with exactly one room.")
    if ("session" in given) != ("secret" in given):
        raise Refused(Code.BAD_DATA, "session and secret go together.")
    return Query(tuple(rooms), **given)


def _since(value: str) -> Since:
    # 19 digits are below 2**64, as in a frame.
    number = value.isascii() and value.isdigit() and len(value) < 20
    return since_of(int(value) if number else value)


_ONCE: Final[dict[str, Callable[[str], object]]] = {
    "name": checked_user,
    "user": checked_user,
    "token": str,
    "since": _since,
    "epoch": epoch_of,
    "session": str,
    "secret": str,
}
"""What may be given once, and how it is read. Raises Refused."""
