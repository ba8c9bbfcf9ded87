"""What an event says, to be compared wherever it was heard or stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from roomful_protocol.codecs.json import dumps
from roomful_protocol.ids import SessionId

FAREWELL: Final = "check.farewell"
"""The type by which a room of the check tells that its `on_leave` ran, of whom in `about`."""


@dataclass(frozen=True, slots=True)
class Content:
    """What an event says: equal for all who hear it, in every codec.

    `key` names what was said, wherever it is said again; `sender` is a session. `digest` stands for
    the whole of its data. `joined`, `left` and `count` are those of a presence entry; `tally` is a
    counter in the room's state that grew with this event; `about` a session that it speaks of.
    """

    type: str
    ts: int | None
    key: str | None
    sender: SessionId | None
    digest: int
    joined: frozenset[SessionId] = frozenset()
    left: frozenset[SessionId] = frozenset()
    count: int | None = None
    tally: int | None = None
    about: SessionId | None = None

    @classmethod
    def of(cls, frame: Mapping[str, Any]) -> "Content":
        """What an event's frame says, wherever it was heard."""
        data, sender = frame.get("data"), frame.get("from")
        fields = data if isinstance(data, dict) else {}
        present = fields if frame["type"] == "presence" else {}
        return cls(
            frame["type"],
            frame.get("ts"),
            fields.get("key"),
            sender["session"] if sender else None,
            hash(dumps(data)),
            sessions(present.get("joined", ())),
            sessions(present.get("left", ())),
            present.get("count"),
            fields.get("tally"),
            fields.get("about"),
        )


def sessions(people: Sequence[Mapping[str, Any]]) -> frozenset[SessionId]:
    """The sessions of people as they stand in `members` and `presence`."""
    return frozenset([person["session"] for person in people])
