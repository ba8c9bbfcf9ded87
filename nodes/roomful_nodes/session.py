"""One client's logical connection: it has a name, and survives a short disconnect."""

from collections.abc import Mapping
from typing import Protocol

from roomful_nodes.membership import ExitReason, Membership
from roomful_protocol.errors import Close
from roomful_protocol.ids import NodeId, RoomName, SessionId, UserId
from roomful_protocol.messages import Direct


class Line(Protocol):
    """The open socket of a session, as far as the session needs to know."""

    @property
    def rooms(self) -> Mapping[RoomName, Membership]:
        """The rooms that were joined over it."""
        ...

    def show(self, *frames_json: bytes) -> None:
        """Write frames to the client, in one piece."""
        ...

    def end(self, close: Close) -> None:
        """Say `bye`, hear nothing more, and close."""
        ...


class Session:
    """`line` is its socket, None while it has none, and `connection` its number among all that the
    session has had. `parked` are the rooms that it is in by an earlier socket and has not joined
    again by this one."""

    __slots__ = ("_heard", "connection", "id", "line", "name", "parked", "secret", "user")

    def __init__(self, id: SessionId, user: UserId, name: str) -> None:
        self.id = id
        self.user = user
        self.name = name
        self.connection = 0
        self.secret = ""
        self.line: Line | None = None
        # Made when the first is parked: hardly any session has them.
        self.parked: dict[RoomName, Membership] | None = None
        # The last message with several targets of each node; made when the first one comes.
        self._heard: dict[NodeId, str] | None = None

    def has_heard(self, direct: Direct) -> bool:
        """Whether the same message has come before for another of its targets, which are the
        session's, too. What one node sends for one message comes in one go."""
        message = direct.message
        if message is None:
            return False
        if self._heard is None:
            self._heard = {}
        before, self._heard[direct.node] = self._heard.get(direct.node), message
        return before == message

    def park(self, line: Line) -> None:
        """`line` is no more: its rooms wait for the client to come back."""
        for membership in line.rooms.values():
            membership.detach()
        self.parked = {**(self.parked or {}), **line.rooms}

    def joins(self, room: RoomName) -> None:
        """The client is back in `room`: the newer attachment replaces the parked one."""
        if self.parked:
            self.parked.pop(room, None)

    def leave_parked(self, reason: ExitReason) -> None:
        parked, self.parked = self.parked, None
        for membership in (parked or {}).values():
            membership.exit(reason)
