"""What a handler wants to happen, collected while it runs and done only if it succeeds."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from roomful_protocol.blocks import EVERYONE, Audience, Entered, Member
from roomful_protocol.ids import SessionId


class Tell(Struct, frozen=True):
    """An event to be heard: by the room or by its `audience`.

    `sender` is whose it appears to be; None: the room's own.
    """

    type: str
    data: object
    sender: Member | None = None
    audience: Audience = EVERYONE


NOBODY: Final[Mapping[SessionId, Member | None]] = MappingProxyType({})


class Gone(Struct, frozen=True):
    """A membership ended; as stored, an `Exited`."""

    member: Member
    reason: str


class Turn(Struct):
    """All that one handler has asked for so far. Nobody but its actor sees it.

    `tells` are durable, `lives` ephemeral: they have no seq. `changes`: who has come or gone, which
    is one at most, and `before`: the same sessions, as they were in the room.
    """

    tells: list[Tell] = []
    lives: list[Tell] = []
    changes: tuple[Entered | Gone, ...] = ()
    before: Mapping[SessionId, Member | None] = NOBODY
    reply: object = None
    delivered: int | None = None
