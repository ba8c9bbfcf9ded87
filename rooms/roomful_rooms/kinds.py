"""Which class serves which room, by the room's name."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from roomful_protocol.ids import RoomName
from roomful_rooms.room import ChatRoom, Room


class Kinds:
    """Patterns and the kinds of rooms they name; the first that fits wins, the default is last."""

    def __init__(
        self, kinds: Iterable[tuple[str, type[Room]]] = (), default: type[Room] = ChatRoom
    ) -> None:
        self._kinds = tuple(kinds)
        self._default = default

    def of(self, room: RoomName) -> type[Room]:
        for pattern, kind in self._kinds:
            if fnmatchcase(room, pattern):
                return kind
        return self._default
