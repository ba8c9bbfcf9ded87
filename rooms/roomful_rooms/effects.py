"""What a handler wants to happen, collected while it runs and done only if it succeeds."""

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


class Gone(Struct, frozen=True):
    """A membership ended; as stored, an `Exited`."""

    member: Member
    reason: str


class Turn(Struct):
    """All that one handler has asked for so far. Nobody but its actor sees it.

    `tells` are durable, `lives` ephemeral: they have no seq. `before`: the sessions that `changes`
    are about, as they were in the room.
    """

    tells: list[Tell] = []
    lives: list[Tell] = []
    changes: list[Entered | Gone] = []
    before: dict[SessionId, Member | None] = {}
    reply: object = None
    delivered: int | None = None
