"""From a parsed object to a client's frame: every field checked, every fault named.

The codecs differ in how they parse only; what a frame may say is decided here for both.
"""

from collections.abc import Callable
from functools import lru_cache
from re import compile as pattern
from typing import Any, Final

from roomful_protocol.errors import Code, Refused
from roomful_protocol.frames import (
    NEW,
    Auth,
    Bye,
    ClientFrame,
    ClientId,
    History,
    Join,
    Leave,
    Members,
    Ping,
    Say,
    Since,
    Target,
)
from roomful_protocol.ids import NAME_CHARACTERS, RoomName, checked_room, checked_user

ID_CHARACTERS: Final = 64
TYPE_CHARACTERS: Final = 128
TARGETS: Final = 64
HISTORY: Final = 500
"""The most events that one `history` returns; asking for more gets these."""

_NODE_TYPES: Final = frozenset(
    ("hello", "joined", "left", "ack", "error", "presence", "pong", "gap", "lagging")
)

_RARE: Final = frozenset(("to", "ephemeral", "echo"))
"""Most messages have none of these fields."""

Tree = dict[str, Any]
_Builder = Callable[[Tree, ClientId | None], ClientFrame]

_dotted: Final = pattern(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+").fullmatch
_last: Final = pattern(r"last:([0-9]{1,9})").fullmatch


def id_of(tree: Tree) -> ClientId | None:
    """The frame's id, or None where it has none or one that cannot be used."""
    try:
        return _id(tree.get("id"))
    except Refused:
        return None


def frame_of(tree: Tree) -> ClientFrame:
    """The frame that `tree` spells. Raises Refused, with the frame's id if that is sound."""
    id = tree.get("id")
    if id is not None and type(id) is not int:
        id = _id(id)
    try:
        kind = tree.get("type")
        if type(kind) is not str:
            raise Refused(Code.BAD_TYPE, "A frame must have a type, which is a string.")
        # The length first: whatever is looked up is kept for a while.
        if len(kind) > TYPE_CHARACTERS:
            raise _no_type(kind)
        return _builder(kind)(tree, id)
    except Refused as refused:
        refused.id = id
        raise


# Clients say the same few types and rooms again and again.
@lru_cache(maxsize=4096)
def _builder(kind: str) -> _Builder:
    """What makes the frames of a type. Raises Refused."""
    build = _say if _dotted(kind) else _BUILDERS.get(kind)
    if build is None:
        raise _no_type(kind)
    return build


_named: Final = lru_cache(maxsize=16_384)(checked_room)


def _no_type(kind: str) -> Refused:
    if "." in kind:
        return Refused(
            Code.BAD_TYPE,
            "A type of an application is <namespace>.<action>, of letters, digits, _ and -, "
            f"at most {TYPE_CHARACTERS} characters.",
        )
    if kind in _NODE_TYPES:
        return Refused(Code.BAD_TYPE, f"Only nodes send frames of type {kind}.")
    return Refused(
        Code.UNSUPPORTED,
        f"The protocol has no type {kind[:32]!r}; types of an application have a dot in them.",
    )


def _say(tree: Tree, id: ClientId | None) -> Say:
    kind = tree["type"]
    data, room = tree.get("data"), tree.get("room")
    if room is not None:
        room = _room(room)
    if _RARE.isdisjoint(tree):
        return Say(kind, data, id, room)
    to, ephemeral, echo = tree.get("to"), tree.get("ephemeral"), tree.get("echo")
    return Say(
        kind,
        data,
        id,
        room,
        () if to is None else _to(to),
        False if ephemeral is None else _flag("ephemeral", ephemeral),
        True if echo is None else _flag("echo", echo),
    )


def _join(tree: Tree, id: ClientId | None) -> Join:
    return Join(
        _room(tree.get("room")), id, since_of(tree.get("since")), epoch_of(tree.get("epoch"))
    )


def _leave(tree: Tree, id: ClientId | None) -> Leave:
    return Leave(_room(tree.get("room")), id)


def _history(tree: Tree, id: ClientId | None) -> History:
    before, after = _seq(tree, "before"), _seq(tree, "after")
    if before is not None and after is not None:
        raise Refused(Code.BAD_DATA, "history takes before or after, not both.")
    room, limit = _room(tree.get("room")), tree.get("limit")
    if limit is None:
        return History(room, id, before, after)
    if type(limit) is not int:
        raise Refused(Code.BAD_DATA, "limit must be an integer.")
    return History(room, id, before, after, min(max(limit, 1), HISTORY))


def _members(tree: Tree, id: ClientId | None) -> Members:
    return Members(_room(tree.get("room")), id)


def _auth(tree: Tree, id: ClientId | None) -> Auth:
    token = tree.get("token")
    if type(token) is not str or not token:
        raise Refused(Code.BAD_DATA, "token must be a string that is not empty.")
    return Auth(token, id)


_BUILDERS: Final[dict[str, _Builder]] = {
    "join": _join,
    "leave": _leave,
    "history": _history,
    "members": _members,
    "auth": _auth,
    "ping": lambda _tree, id: Ping(id),
    "bye": lambda _tree, id: Bye(id),
}


# -- fields; null is the same as absent ------------------------------------------------------------


def since_of(value: object) -> Since:
    """What `since` asks for, by message or in the query. Raises Refused."""
    if value is None or value == "new":
        return NEW
    if type(value) is int and value >= 0:
        return Since(after=value)
    if type(value) is str and (found := _last(value)):
        return Since(last=int(found[1]))
    raise Refused(Code.BAD_DATA, 'since must be a seq (0 or more), "new" or "last:N".')


def epoch_of(value: object) -> str | None:
    if value is None:
        return None
    if type(value) is not str or not 0 < len(value) <= ID_CHARACTERS:
        raise Refused(Code.BAD_DATA, f"epoch must be a string of 1 to {ID_CHARACTERS} characters.")
    return value


def _id(id: Any) -> ClientId | None:
    if id is None or type(id) is int or (type(id) is str and 0 < len(id) <= ID_CHARACTERS):
        return id
    raise Refused(
        Code.BAD_DATA, f"id must be a string of 1 to {ID_CHARACTERS} characters or an integer."
    )


def _room(room: object) -> RoomName | None:
    if room is None:
        return None
    return _named(room) if type(room) is str else checked_room(room)


def _flag(name: str, value: object) -> bool:
    if value is True or value is False:
        return value
    raise Refused(Code.BAD_DATA, f"{name} must be true or false.")


def _seq(tree: Tree, name: str) -> int | None:
    value = tree.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 0:
        raise Refused(Code.BAD_DATA, f"{name} must be a seq, 0 or more.")
    return value


def _to(to: object) -> tuple[Target, ...]:
    listed = to if type(to) is list else [to]
    if not 0 < len(listed) <= TARGETS:
        raise Refused(Code.BAD_DATA, f"to must name 1 to {TARGETS} targets.")
    return tuple([_target(item) for item in listed])


def _target(item: object) -> Target:
    if type(item) is dict:
        match item.get("user"), item.get("session"):
            case user, None if user is not None:
                return Target("user", checked_user(user))
            case None, str(session) if 0 < len(session) <= NAME_CHARACTERS:
                return Target("session", session)
    raise Refused(Code.BAD_DATA, 'to must be {"user": U}, {"session": S} or a list of these.')
