"""What crosses between nodes: commands and their answers, and messages outside any room.

Command: asked of a room's owner, may be refused.
"""

from typing import Literal

from msgspec import Struct

from roomful_protocol.blocks import Entry, Member, Page
from roomful_protocol.errors import CODES, Code, Refused
from roomful_protocol.frames import Say as Say
from roomful_protocol.frames import Since
from roomful_protocol.ids import NodeId, RoomName, SessionId, UserId


class Sender(Struct, frozen=True, gc=False):
    """Who asks, and over which gateway.

    `attach` names one attachment of the session to one gateway; a session that resumes elsewhere
    gets another, so a room can tell the old gateway's late commands from the new one's.
    """

    session: SessionId
    user: UserId
    name: str
    node: NodeId
    attach: str


# -- commands: what is asked of a room -------------------------------------------------------------


class Enter(Struct, frozen=True, gc=False):
    """Become a member, or attach again; `resumed`: the client says it was one in this session."""

    since: Since
    epoch: str | None
    resumed: bool = False


class Exit(Struct, frozen=True, gc=False):
    reason: Literal["left", "timeout", "node_lost"] = "left"


class Read(Struct, frozen=True, gc=False):
    """Entries of the past: those after `after`, or the newest before `before`; at most `limit`."""

    after: int | None = None
    before: int | None = None
    limit: int = 256


class Who(Struct, frozen=True):
    """The members, and the head of the room."""


Ask = Enter | Exit | Say | Read | Who


class Command(Struct, gc=False):
    """One question to one room.

    `n` numbers the session's durable commands to this room 1, 2, 3 ... within its attachment (0:
    not numbered); `base` is the lowest number still unanswered, which moves on while the question
    is asked again. The room accepts n == max(last, base - 1) + 1, answers a repeat as before and
    refuses a hole, so a gateway may pipeline and retry without loss, duplication or reordering.
    """

    room: RoomName
    sender: Sender
    ask: Ask
    n: int
    base: int


# -- answers ---------------------------------------------------------------------------------------


class Accepted(Struct, frozen=True, gc=False):
    """Carried out. `seq`: the entry's; `delivered`: members reached, where it was targeted."""

    seq: int | None = None
    data: object = None
    duplicate: bool = False
    delivered: int | None = None


class Welcome(Struct, frozen=True):
    """Answer to `Enter`, true at `seq`: the head of the room once the join was in the log.

    `listed`: the members, all of them or a sample above the listing limit.
    `start` is the seq after which the client is to be served; `entries` are those from there to
    `seq` where the owner had them in memory, else `None`: read them. `gap` is (from, to, reason).
    """

    seq: int
    epoch: str
    count: int
    listed: tuple[Member, ...]
    start: int
    entries: tuple[Entry, ...] | None
    recovered: bool = False
    gap: tuple[int, int, str] | None = None


class Entries(Struct, frozen=True):
    """Answer to `Read`: entries in order, or (`pages`) where to find them in the archive: the page
    where to go on, and perhaps the one after it, for whoever will need that soon.

    `head` is the last committed seq, `oldest` the first one still retained.
    `more`: there are further entries beyond these in the direction of the reading.
    """

    epoch: str
    head: int
    oldest: int
    entries: tuple[Entry, ...] = ()
    pages: tuple[Page, ...] = ()
    more: bool = False


class Listing(Struct, frozen=True):
    """Answer to `Who`."""

    seq: int
    epoch: str
    count: int
    members: tuple[Member, ...]


class Denied(Struct, frozen=True, gc=False):
    """Not carried out, and why; becomes a client's error frame."""

    code: str
    message: str
    retry_after_ms: int | None = None

    @classmethod
    def of(cls, refused: Refused) -> "Denied":
        return cls(refused.code.slug, refused.message, refused.retry_after_ms)


class Moved(Struct, frozen=True):
    """Not carried out and not refused: this node does not serve the room (now), or not yet this
    number. Ask the owner that the directory names, in a moment."""


Answer = Accepted | Welcome | Entries | Listing | Denied | Moved

MOVED = Moved()


def refused(denied: Denied) -> Refused:
    """The refusal that `denied` carried over the wire."""
    code = CODES.get(denied.code, Code.UNAVAILABLE)
    return Refused(code, denied.message, retry_after_ms=denied.retry_after_ms)


# -- between nodes, outside rooms ------------------------------------------------------------------


class Live(Struct, frozen=True):
    """On a room's live subject: ephemeral entries (their seq is 0); or, without, a head beacon."""

    entries: tuple[Entry, ...] = ()
    head: int = 0


class Direct(Struct, frozen=True):
    """A targeted message outside any room: the client's JSON frame, complete. `node` wants to be
    told, under `request`, how many connections it has reached."""

    frame: bytes
    node: NodeId
    request: str

    @property
    def message(self) -> str | None:
        """Which message of `node` it is, if that has several targets, of which this is for one."""
        message, several, _ = self.request.partition("-")
        return message if several else None


def one_of_several(message: str, number: int) -> str:
    """The `Direct.request` for one target of a message that has several."""
    return f"{message}-{number}"


class Claim(Struct, frozen=True):
    """A session goes on over its `connection`, on `node`: whoever has an earlier one lets it go."""

    node: NodeId
    connection: int


class Kick(Struct, frozen=True):
    """Close a session's socket: the table of closes has the slug."""

    close: str


ToSession = Direct | Claim | Kick

Receipt = tuple[str, int | None]
"""A request of another node, and how many connections it has reached. Without a number: all that
came before the roll call of that name was heard, by the node that says so."""
