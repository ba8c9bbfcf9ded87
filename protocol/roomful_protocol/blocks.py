"""What a room's log and archive hold: entries in blocks, snapshots, pages.

Entry: happened, has a seq. Block: the entries, state changes and bookkeeping that one append
writes, all or nothing.
"""

from collections.abc import Mapping

from msgspec import Struct, field

from roomful_protocol.frames import ClientId
from roomful_protocol.ids import NodeId, SessionId, UserId


class Audience(Struct, frozen=True, gc=False):
    """Who hears an entry: these users and sessions only; or, with neither, all but `skip`."""

    users: tuple[UserId, ...] = ()
    sessions: tuple[SessionId, ...] = ()
    skip: SessionId | None = None

    @property
    def private(self) -> bool:
        return bool(self.users or self.sessions)

    def hears(self, user: UserId, session: SessionId) -> bool:
        if self.users or self.sessions:
            return session in self.sessions or user in self.users
        return session != self.skip


EVERYONE = Audience()


class Entry(Struct, frozen=True, gc=False):
    """One event: the client's JSON frame, complete with seq and ts, and who hears it."""

    seq: int
    frame: bytes
    audience: Audience = EVERYONE


class Member(Struct, frozen=True, gc=False):
    session: SessionId
    user: UserId
    name: str
    node: NodeId
    attach: str


class Entered(Struct, frozen=True, gc=False):
    """A membership began, or moved to another node or attachment (`moved`: nobody hears of it)."""

    member: Member
    moved: bool = False


class Exited(Struct, frozen=True, gc=False):
    session: SessionId
    reason: str


class Done(Struct, frozen=True, gc=False, array_like=True):
    """A command that was decided: enough to answer a repeat of it as it was answered. The order of
    the fields is that in which they are stored.

    `n` is the command's number within `attach`, 0 if it had none. `denied` is (code, message) of
    one that was refused; it had no effect.
    """

    session: SessionId
    attach: str
    n: int
    user: UserId
    id: ClientId | None
    seq: int | None
    data: object = None
    denied: tuple[str, str] | None = None


class Block(Struct, frozen=True):
    """What one append writes. `first` is the seq of its first entry, or the next one if none.

    (writer, number) names the block: `writer` is one activation of the room, `<node>.<random>`, and
    `number` counts its blocks. `term` is the partition's lease term; `epoch` the incarnation of the
    room's log. `count` is how many members there are after it. A block without entries, state and
    members is an activation record: it fences whoever wrote before.
    """

    term: int
    writer: str
    number: int
    epoch: str
    first: int
    ts: int
    count: int
    entries: tuple[Entry, ...] = ()
    members: tuple[Entered | Exited, ...] = ()
    state: Mapping[str, object] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    done: tuple[Done, ...] = ()

    @property
    def node(self) -> NodeId:
        """The node that wrote it."""
        return self.writer.rpartition(".")[0]

    @property
    def last(self) -> int:
        """The room's head after this block."""
        return self.first + len(self.entries) - 1


class Heard(Struct, frozen=True, gc=False):
    """The part of a block that a hub needs: what is left is not even unpacked."""

    epoch: str
    first: int
    ts: int
    entries: tuple[Entry, ...]

    @property
    def last(self) -> int:
        return self.first + len(self.entries) - 1


class Page(Struct, frozen=True, gc=False):
    """Entries `first` to `last`, packed, in the archive under `key`.

    Two owners may page the same entries, one of them without knowing that it has been replaced, and
    not stop at the same one: then these are two pages.
    """

    first: int
    last: int

    @property
    def key(self) -> str:
        return f"page-{self.first}-{self.last}"


class Snapshot(Struct, frozen=True):
    """All of a room at one record of its log; recovery is this and the records after `position`.

    `done`: what was decided, by the numbers that may still be asked for; `known`: by clients' ids,
    in the order in which they are to be forgotten. What is both stands in both: once stored, the
    known ones are the first of `done`, without their numbers, and the others have no ids.
    """

    position: int
    epoch: str
    seq: int
    ts: int
    pages: tuple[Page, ...]
    members: tuple[Member, ...]
    state: Mapping[str, object]
    done: tuple[Done, ...]
    known: tuple[Done, ...] = ()
