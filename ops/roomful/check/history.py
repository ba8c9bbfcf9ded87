"""What happened to a client, as it was told: half of what a verdict is made from.

A client's history is the list of its events, in the order in which they happened to it. `at` is
seconds of one clock that all histories of a run share.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from roomful.check.content import Content
from roomful_protocol.errors import CODES
from roomful_protocol.ids import NodeId, RoomName, SessionId, UserId


@dataclass(frozen=True, slots=True)
class Opened:
    """A node said hello. `resumed`: the session is the one that was asked for."""

    node: NodeId
    session: SessionId
    resumed: bool
    at: float


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection ended. `parted`: the client had said bye, so the session left at once."""

    at: float
    code: int | None = None
    parted: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """A message went out, perhaps not for the first time.

    `durable`: it is to become an event that bears `key`. `fine`: codes of refusals that are no
    fault of the cluster. `awaited`: it asked for an answer.
    """

    room: RoomName
    key: str
    at: float
    durable: bool = True
    fine: tuple[str, ...] = ()
    awaited: bool = True


@dataclass(frozen=True, slots=True)
class Acked:
    room: RoomName
    key: str
    seq: int | None
    at: float
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """An error came for `key`; None: for something that was not a message, perhaps a `join`."""

    room: RoomName | None
    key: str | None
    code: str
    at: float
    join: bool = False

    @property
    def passing(self) -> bool:
        """Whether the same may succeed later, and may have succeeded already."""
        return self.code in CODES and CODES[self.code].retry


@dataclass(frozen=True, slots=True)
class Joining:
    """A join was asked for; until it is answered, what has a seq is not taken."""

    room: RoomName
    since: int | str
    at: float


@dataclass(frozen=True, slots=True)
class Gap:
    """Events `first` to `last` will not come."""

    first: int
    last: int
    reason: str


@dataclass(frozen=True, slots=True)
class Joined:
    """The answer to a join that asked for `since`."""

    room: RoomName
    epoch: str
    since: int | str
    seq: int
    recovered: bool
    gap: Gap | None
    members: frozenset[SessionId]
    count: int
    at: float


@dataclass(frozen=True, slots=True)
class Heard:
    """An event came; `seq` is None for ephemeral ones."""

    room: RoomName
    seq: int | None
    prev: int | None
    content: Content
    at: float


@dataclass(frozen=True, slots=True)
class GapTold:
    room: RoomName
    gap: Gap
    at: float


@dataclass(frozen=True, slots=True)
class Listed:
    """The answer to `members`."""

    room: RoomName
    seq: int
    members: frozenset[SessionId]
    count: int
    at: float


@dataclass(frozen=True, slots=True)
class Read:
    """The answer to `history`: events right before or right after a seq (neither: the newest)."""

    room: RoomName
    before: int | None
    after: int | None
    events: tuple[tuple[int, Content], ...]
    more: bool
    at: float


@dataclass(frozen=True, slots=True)
class Leaving:
    """A leave was asked for."""

    room: RoomName
    at: float


@dataclass(frozen=True, slots=True)
class Left:
    """The client is no longer a member. `asked`: it wanted so."""

    room: RoomName
    asked: bool
    at: float


@dataclass(frozen=True, slots=True)
class Broke:
    """The client itself breaks its connection or stays away: it does not wait for what it said."""

    at: float


Event = (
    Opened | Lost | Broke | Sent | Acked | Refused | Joining | Joined | Heard | GapTold | Listed
    | Read | Leaving | Left
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class History:
    """All that happened to one client. `gone`: it stays away at the end, without its answers."""

    client: str
    user: UserId
    events: Sequence[Event]
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Trouble:
    """What was done to a node (None: to all of them) from `since` until it was well again.

    `harms`: nodes may believe each other or their clients dead meanwhile.
    """

    kind: str
    node: NodeId | None
    since: float
    until: float
    harms: bool = True
