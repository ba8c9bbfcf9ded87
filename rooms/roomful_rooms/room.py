"""What an author writes: a `Room` subclass whose handlers say what should happen.

A handler is a transaction. What it broadcasts, sends, replies and changes in `state` is collected
while it runs; if it succeeds, all of it is written to the room's log in one block, and only then
does anybody hear of it; if it raises, nothing has happened and its sender gets an error.

A handler that never waits is written `def` and runs at once; one that waits is `async def`, and the
room's other messages wait for it, up to a time limit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeVar

from msgspec import Struct

from roomful_protocol.blocks import EVERYONE, Audience, Member
from roomful_protocol.errors import Code, Refused
from roomful_protocol.frames import ClientId, Target
from roomful_protocol.ids import RoomName
from roomful_rooms.clock import Clock
from roomful_rooms.effects import Tell, Turn
from roomful_rooms.presence import Presence
from roomful_rooms.state import State

Handler = Callable[[Any, "Message"], object]
_H = TypeVar("_H", bound=Handler)
_MARK: Final = "_roomful_types"
_TYPES: Final = 1024
"""Types whose handlers a kind of room remembers: clients make them up."""


class Message(Struct, frozen=True):
    """One message to a room. `sender` is a member, or stands for an operator who is none.

    `to`, `echo` and `ephemeral` are what the client asked for; `Room.relay` honours them.
    """

    type: str
    data: Any
    sender: Member
    id: ClientId | None = None
    to: tuple[Target, ...] = ()
    ephemeral: bool = False
    echo: bool = True


def on(*types: str) -> Callable[[_H], _H]:
    """Mark a method as the handler of messages whose type matches one of `types`.

    A type is exact (`"chat.message"`) or a pattern (`"poll.*"`, `"*"`); exact ones win, then the
    longest pattern.
    """

    def marked(handler: _H) -> _H:
        setattr(handler, _MARK, (*getattr(handler, _MARK, ()), *types))
        return handler

    return marked


@dataclass(slots=True)
class Context:
    """What a room is given by the actor that runs it; `turn` is the handler's in progress."""

    name: RoomName
    state: State
    members: Presence
    clock: Clock
    turn: Turn


def _fitting(handlers: Mapping[str, Handler], type: str) -> Handler | None:
    if (exact := handlers.get(type)) is not None:
        return exact
    fitting = [pattern for pattern in handlers if fnmatchcase(type, pattern)]
    return handlers[max(fitting, key=len)] if fitting else None


class _Found(dict[str, Handler | None]):
    """The handler of every type, looked for when it is first asked for."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        super().__init__()
        self._handlers = handlers

    def __missing__(self, type: str) -> Handler | None:
        if len(self) >= _TYPES:
            self.clear()
        found = self[type] = _fitting(self._handlers, type)
        return found


class Room:
    """The base of every kind of room; one instance per room, living on one node at a time.

    Class attributes are the kind's choices: `rooms` (which names it serves, as a pattern),
    `capacity` (members at most; None: no limit), `history` (events kept at least, older ones are
    forgotten and reported as a gap).
    """

    rooms: ClassVar[str] = "*"
    capacity: ClassVar[int | None] = None
    history: ClassVar[int] = 100_000
    handlers: ClassVar[Mapping[str, Handler]] = MappingProxyType({})
    handler_by_type: ClassVar[Mapping[str, Handler | None]] = _Found({})

    def __init__(self, context: Context) -> None:
        self.context = context

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        names: dict[str, str] = {}
        for base in reversed(cls.__mro__):
            for name, attribute in vars(base).items():
                names.update(dict.fromkeys(getattr(attribute, _MARK, ()), name))
        # By name, so that a subclass overrides a handler as it would any method; None removes it.
        found = {type: getattr(cls, name) for type, name in names.items()}
        cls.handlers = MappingProxyType({type: one for type, one in found.items() if one})
        cls.handler_by_type = _Found(cls.handlers)

    @classmethod
    def handler(cls, type: str) -> Handler | None:
        """The handler of messages of `type`, if this kind of room has one."""
        return cls.handler_by_type[type]

    # -- what an author reads ----------------------------------------------------------------------

    @property
    def name(self) -> RoomName:
        return self.context.name

    @property
    def state(self) -> State:
        """The room's durable mapping; changes are written with the events of the same handler."""
        return self.context.state

    @property
    def members(self) -> Presence:
        """Who is here now: iterate it, ask its length, or `members.of(user)`."""
        return self.context.members

    @property
    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return self.context.clock.wall_ms()

    # -- what an author overrides ------------------------------------------------------------------

    def on_join(self, member: Member) -> object:
        """`member` is here (and in `members`); raise `Refused` to turn it away. May be `async`."""
        return None

    def on_leave(self, member: Member, reason: str) -> object:
        """`member` has gone: `left`, `timeout` or `node_lost`. May be `async`."""
        return None

    # -- what a handler may ask for ----------------------------------------------------------------

    def broadcast(
        self, type: str, data: object = None, *, ephemeral: bool = False, skip: Member | None = None
    ) -> None:
        """An event of the room itself, to all members, or to all but `skip`."""
        audience = EVERYONE if skip is None else Audience(skip=skip.session)
        turn = self.context.turn
        (turn.lives if ephemeral else turn.tells).append(Tell(type, data, None, audience))

    def relay(self, message: Message, data: object = None) -> None:
        """`message` to whom its sender meant it, as the sender's event, with other `data` if given.

        Raises `Refused` if it is targeted at people of whom none is here.
        """
        turn, sender = self.context.turn, message.sender
        audience = EVERYONE if message.echo else Audience(skip=sender.session)
        if message.to:
            audience = self._audience(message)
        body = message.data if data is None else data
        tells = turn.lives if message.ephemeral else turn.tells
        tells.append(Tell(message.type, body, sender, audience))

    def _audience(self, message: Message) -> Audience:
        reached = self.members.reached(message.to)
        if not reached:
            raise Refused(Code.UNKNOWN_TARGET, "Nobody that this message is for is in the room.")
        self.context.turn.delivered = len(reached)
        sessions = [target.value for target in message.to if target.kind == "session"]
        users = [target.value for target in message.to if target.kind == "user"]
        if message.echo:
            # The user, not the session: what one has whispered is there after a reload, too.
            users.append(message.sender.user)
        return Audience(tuple(users), tuple(sessions))

    def send(self, to: Member | str, type: str, data: object = None) -> int:
        """An event of the room for one member, or for every connection of the user named `to`.

        Returns how many members it is for; none is no error, and then nothing is written.
        """
        if isinstance(to, Member):
            here, audience = to.session in self.members, Audience(sessions=(to.session,))
            reached = 1 if here else 0
        else:
            reached, audience = len(self.members.of(to)), Audience(users=(to,))
        if reached:
            self.context.turn.tells.append(Tell(type, data, None, audience))
        return reached

    def reply(self, data: object) -> None:
        """What the sender's ack carries as `data`; the last one counts."""
        self.context.turn.reply = data


class ChatRoom(Room):
    """The default room: passes on what members say, to whom they say it; keeps who said what."""

    @on("*")
    def said(self, message: Message) -> None:
        self.relay(message)
