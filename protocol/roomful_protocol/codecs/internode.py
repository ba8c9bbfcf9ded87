"""What nodes tell each other as bytes: batches of commands and answers, live and direct messages.

Compact msgpack arrays, first the version of the format; kinds are small integers. These run for
every message of every client, so they name fields by hand instead of reflecting on types.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from roomful_protocol.codecs.stored import (
    entries_in,
    entries_out,
    members_in,
    members_out,
    pages_in,
    pages_out,
    value_in,
    value_out,
)
from roomful_protocol.codecs.values import fields, pack, value_error
from roomful_protocol.frames import Since, Target
from roomful_protocol.ids import NodeId
from roomful_protocol.messages import (
    MOVED,
    Accepted,
    Answer,
    Ask,
    Claim,
    Command,
    Denied,
    Direct,
    Enter,
    Entries,
    Exit,
    Kick,
    Listing,
    Live,
    Moved,
    Read,
    Receipt,
    Say,
    Sender,
    ToSession,
    Welcome,
    Who,
)

FORMAT: Final = 1
"""Version of everything in this module: nodes of one cluster must agree on it."""

_ENTER, _EXIT, _SAY, _READ, _WHO = range(1, 6)
_ACCEPTED, _WELCOME, _ENTRIES, _LISTING, _DENIED, _MOVED = range(1, 7)
_DIRECT, _CLAIM, _KICK = range(1, 4)
_EPHEMERAL, _ECHO, _OPERATOR = 1, 2, 4


def pack_commands(commands: Sequence[tuple[int, Command]]) -> bytes:
    """Commands with the gateway's reference to each, which its answer will name.

    Raises ValueError if a message holds what cannot be packed.
    """
    return pack((FORMAT, [_command_out(reference, command) for reference, command in commands]))


@value_error
def unpack_commands(data: bytes) -> list[tuple[int, Command]]:
    """The commands of a batch. Raises ValueError if it is none."""
    _, commands = fields(data, FORMAT, "commands")
    return [_command_in(*command) for command in commands]


def _command_out(reference: int, command: Command) -> tuple[object, ...]:
    by = command.sender
    sender = (by.session, by.user, by.name, by.node, by.attach)
    return (reference, command.room, sender, command.n, command.base, *_ask_out(command.ask))


def _command_in(
    reference: Any, room: Any, sender: Any, n: Any, base: Any, kind: Any, *ask: Any
) -> tuple[int, Command]:
    return reference, Command(room, Sender(*sender), _ASKS[kind](*ask), n, base)


def _ask_out(ask: Ask) -> tuple[object, ...]:
    match ask:
        case Say():
            to = [(target.kind, target.value) for target in ask.to]
            return (_SAY, ask.type, ask.data, ask.id, to, _flags(ask))
        case Enter(since, epoch, resumed):
            return (_ENTER, since.after, since.last, epoch, resumed)
        case Exit(reason):
            return (_EXIT, reason)
        case Read(after, before, limit):
            return (_READ, after, before, limit)
        case Who():
            return (_WHO,)


def _flags(say: Say) -> int:
    ephemeral, echo = say.ephemeral * _EPHEMERAL, say.echo * _ECHO
    return ephemeral | echo | say.operator * _OPERATOR


def _say_in(type: Any, data: Any, id: Any, to: Any, flags: Any) -> Say:
    return Say(
        type,
        data,
        id,
        None,
        tuple([Target(kind, value) for kind, value in to]) if to else (),
        bool(flags & _EPHEMERAL),
        bool(flags & _ECHO),
        bool(flags & _OPERATOR),
    )


def _enter_in(after: Any, last: Any, epoch: Any, resumed: Any) -> Enter:
    return Enter(Since(after, last), epoch, resumed)


_ASKS: Final[dict[int, Callable[..., Ask]]] = {
    _ENTER: _enter_in,
    _EXIT: Exit,
    _SAY: _say_in,
    _READ: Read,
    _WHO: Who,
}


def pack_answers(answers: Sequence[tuple[int, Answer]]) -> bytes:
    """Answers with the references of their commands.

    Raises ValueError if a reply holds what cannot be packed.
    """
    return pack((FORMAT, [(reference, *_answer_out(answer)) for reference, answer in answers]))


@value_error
def unpack_answers(data: bytes) -> list[tuple[int, Answer]]:
    """The answers of a batch. Raises ValueError if it is none."""
    _, answers = fields(data, FORMAT, "answers")
    return [(answer[0], _ANSWERS[answer[1]](*answer[2:])) for answer in answers]


def _answer_out(answer: Answer) -> tuple[object, ...]:
    match answer:
        case Accepted(seq, data, duplicate, delivered):
            return (_ACCEPTED, seq, value_out(data), duplicate, delivered)
        case Welcome():
            return (_WELCOME, *_welcome_out(answer))
        case Entries(epoch, head, oldest, entries, pages, more):
            packed = (entries_out(entries), pages_out(pages))
            return (_ENTRIES, epoch, head, oldest, *packed, more)
        case Listing(seq, epoch, count, members):
            return (_LISTING, seq, epoch, count, members_out(members))
        case Denied(code, message, retry_after_ms):
            return (_DENIED, code, message, retry_after_ms)
        case Moved():
            return (_MOVED,)


def _welcome_out(welcome: Welcome) -> tuple[object, ...]:
    entries = None if welcome.entries is None else entries_out(welcome.entries)
    return (
        welcome.seq,
        welcome.epoch,
        welcome.count,
        members_out(welcome.listed),
        welcome.start,
        entries,
        welcome.recovered,
        welcome.gap,
    )


def _accepted_in(seq: Any, data: Any, duplicate: Any, delivered: Any) -> Accepted:
    return Accepted(seq, value_in(data), duplicate, delivered)


def _welcome_in(
    seq: Any, epoch: Any, count: Any, listed: Any, start: Any, entries: Any, recovered: Any,
    gap: Any,
) -> Welcome:  # fmt: skip
    return Welcome(
        seq,
        epoch,
        count,
        members_in(listed),
        start,
        None if entries is None else entries_in(entries),
        recovered,
        None if gap is None else (gap[0], gap[1], gap[2]),
    )


def _entries_in(epoch: Any, head: Any, oldest: Any, entries: Any, pages: Any, more: Any) -> Entries:
    return Entries(epoch, head, oldest, entries_in(entries), pages_in(pages), more)


def _listing_in(seq: Any, epoch: Any, count: Any, members: Any) -> Listing:
    return Listing(seq, epoch, count, members_in(members))


_ANSWERS: Final[dict[int, Callable[..., Answer]]] = {
    _ACCEPTED: _accepted_in,
    _WELCOME: _welcome_in,
    _ENTRIES: _entries_in,
    _LISTING: _listing_in,
    _DENIED: Denied,
    _MOVED: lambda: MOVED,
}


def pack_live(live: Live) -> bytes:
    """What a room says in one turn of its node's loop, or its head."""
    return pack((FORMAT, entries_out(live.entries), live.head))


@value_error
def unpack_live(data: bytes) -> Live:
    """What was said on a room's live subject. Raises ValueError if it is no such thing."""
    _, entries, head = fields(data, FORMAT, "live")
    return Live(entries_in(entries), head)


def pack_to_session(message: ToSession) -> bytes:
    match message:
        case Direct(frame, node, request):
            return pack((FORMAT, _DIRECT, frame, node, request))
        case Claim(node, connection):
            return pack((FORMAT, _CLAIM, node, connection))
        case Kick(close):
            return pack((FORMAT, _KICK, close))


@value_error
def unpack_to_session(data: bytes) -> ToSession:
    """A message for one session. Raises ValueError if it is none."""
    _, kind, *rest = fields(data, FORMAT, "message to a session")
    return _TO_SESSION[kind](*rest)


def pack_reached(reached: Sequence[Receipt]) -> bytes:
    """How many connections the messages of another node have reached, in the order heard."""
    return pack((FORMAT, reached))


@value_error
def unpack_reached(data: bytes) -> list[Receipt]:
    """What messages of this node have reached elsewhere. Raises ValueError if it is none."""
    _, reached = fields(data, FORMAT, "reached")
    return [(request, None if count is None else int(count)) for request, count in reached]


def pack_roll(node: NodeId, roll: str) -> bytes:
    """`node` calls the roll."""
    return pack((FORMAT, node, roll))


@value_error
def unpack_roll(data: bytes) -> tuple[NodeId, str]:
    """Who calls the roll, and the name of that call. Raises ValueError if it is none."""
    _, node, roll = fields(data, FORMAT, "roll call")
    return node, roll


_TO_SESSION: Final[dict[int, Callable[..., ToSession]]] = {
    _DIRECT: Direct,
    _CLAIM: Claim,
    _KICK: Kick,
}
