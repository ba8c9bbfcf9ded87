"""What a handler wants to happen, collected while it runs and done only if it succeeds."""

from collections.abc import Callable
from dataclasses import dataclass, field

from roomful_protocol.blocks import EVERYONE, Audience, Entered, Member


@dataclass(frozen=True, slots=True)
class Tell:
    """An event to be heard: by the room or by its `audience`; durable, or ephemeral (no seq).

    `sender` is whose it appears to be; None: the room's own.
    """

    type: str
    data: object
    sender: Member | None = None
    audience: Audience = EVERYONE
    ephemeral: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    """A membership ended; as stored, an `Exited`."""

    member: Member
    reason: str


@dataclass(slots=True)
class Turn:
    """All that one handler has asked for so far. Nobody but its actor sees it."""

    tells: list[Tell] = field(default_factory=list)
    changes: list[Entered | Gone] = field(default_factory=list)
    undo: list[Callable[[], object]] = field(default_factory=list)
    reply: object = None
    delivered: int | None = None
