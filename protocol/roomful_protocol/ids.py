"""Names and where they belong: rooms, users, sessions, nodes, and the partition of a room.

A name that people chose may hold any Unicode; a subject of the broker may not. `token` maps every
name to one subject token and `name_of` maps it back, so nothing ever has to be escaped twice.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache
from re import compile as pattern
from typing import Final
from zlib import crc32

from roomful_protocol.errors import Code, Refused

# Readable aliases: all of these are plain strings on every wire.
RoomName = str
UserId = str
SessionId = str
NodeId = str
Partition = int

PARTITIONS: Final = 256
NAME_CHARACTERS: Final = 128

_PLAIN: Final = pattern(r"[A-Za-z0-9-][A-Za-z0-9_-]*").fullmatch


def checked_room(name: object) -> RoomName:
    """`name` if it can be a room's: 1 to 128 characters of any Unicode that UTF-8 can carry.

    Raises `Refused(BAD_DATA)` saying what is wrong with it.
    """
    return _checked(name, "A room's name")


def checked_user(name: object) -> UserId:
    """`name` if it can be a user's id or display name; the rule is the one of rooms."""
    return _checked(name, "A user's name")


def _checked(name: object, what: str) -> str:
    if not isinstance(name, str):
        raise Refused(Code.BAD_DATA, f"{what} must be a string.")
    if not name:
        raise Refused(Code.BAD_DATA, f"{what} must not be empty.")
    if len(name) > NAME_CHARACTERS:
        raise Refused(
            Code.BAD_DATA, f"{what} has at most {NAME_CHARACTERS} characters; got {len(name)}."
        )
    return checked_text(name, what)


def checked_text(text: str, what: str) -> str:
    """`text` if UTF-8 can carry it: what comes over HTTP may have bytes in it that are no text.

    Raises `Refused(BAD_DATA)`, calling it `what`.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Refused(Code.BAD_DATA, f"{what} must be valid Unicode.") from None
    return text


def token(name: str) -> str:
    """One subject token of `[A-Za-z0-9_-]` for any name; plain names stay as they are.

    An encoded token begins with `_`, a plain one never does, so no two names share a token.
    """
    if _PLAIN(name):
        return name
    return "_" + urlsafe_b64encode(name.encode()).decode().rstrip("=")


def name_of(token: str) -> str:
    """The name that `token` stands for. Raises ValueError if no name has it."""
    if not token.startswith("_"):
        return token
    body = token[1:]
    return urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode()


@lru_cache(maxsize=65_536)
def partition_of(room: RoomName) -> Partition:
    """The partition that owns `room`: fixed for ever, since logs are filed under it."""
    return crc32(room.encode()) % PARTITIONS


def home_of(session: SessionId) -> NodeId:
    """The node that opened `session`; session ids are `<node>-<random>`."""
    return session.partition("-")[0]


def attachment(connection: int, life: str, random: str) -> str:
    """The id of one attachment of a session to a room: made over the session's `connection`, at a
    node in that `life` of it."""
    return f"{connection}.{life}.{random}"


def connection_of(attach: str) -> int:
    """Which connection of its session an attachment was made over; 0 if it does not say."""
    connection, dot, _ = attach.partition(".")
    return int(connection) if dot and connection.isdecimal() else 0


def life_of(attach: str) -> str:
    """In which life of its node an attachment was made; empty if it does not say."""
    parts = attach.split(".")
    return parts[1] if len(parts) == 3 else ""
