"""What a client is told when something cannot be done: one table of codes, one of closes.

A refusal is a value of a table (`Refused`), never a bug; anything else that is raised is one.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Code(Enum):
    """Why a command was refused. `retry`: the same command may succeed later, unchanged."""

    BAD_FRAME = ("bad_frame", False)
    BAD_TYPE = ("bad_type", False)
    BAD_DATA = ("bad_data", False)
    TOO_BIG = ("too_big", False)
    NOT_JOINED = ("not_joined", False)
    NO_SUCH_ROOM = ("no_such_room", False)
    ROOM_FULL = ("room_full", True)
    UNAUTHORIZED = ("unauthorized", False)
    FORBIDDEN = ("forbidden", False)
    RATE_LIMITED = ("rate_limited", True)
    BUSY = ("busy", True)
    UNAVAILABLE = ("unavailable", True)
    UNKNOWN_TARGET = ("unknown_target", False)
    HANDLER_FAILED = ("handler_failed", False)
    UNSUPPORTED = ("unsupported", False)

    def __init__(self, slug: str, retry: bool) -> None:
        self.slug = slug
        self.retry = retry


CODES: Final = {code.slug: code for code in Code}


class Refused(Exception):
    """A command was not carried out, and its sender is told so. Not a bug.

    `message` is a sentence for people; `retry_after_ms` is a hint where waiting helps;
    `id` is the client's own id of the refused frame, where it could still be read.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        retry_after_ms: int | None = None,
        id: str | int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_ms = retry_after_ms
        self.id = id


@dataclass(frozen=True, slots=True)
class Close:
    """How the node ends a socket: the WebSocket close code and what the `bye` before it says.

    Codes 4000-4499: reconnecting may help; 4500-4999: it will not.
    """

    code: int
    slug: str
    message: str
    reconnect: bool


CLEAN: Final = Close(1000, "clean", "Goodbye.", False)
TOO_BIG: Final = Close(1009, "too_big", "That message is larger than the limit in hello.", True)
DRAIN: Final = Close(1012, "drain", "This node is going away; another one takes over.", True)
OVERLOADED: Final = Close(1013, "overloaded", "This node is overloaded; come back later.", True)
HEARTBEAT: Final = Close(4000, "heartbeat", "No sign of life.", True)
TOO_SLOW: Final = Close(4001, "too_slow", "This connection could not keep up.", True)
TOKEN_EXPIRED: Final = Close(4002, "token_expired", "The token has expired.", True)
UNAUTHORIZED: Final = Close(4500, "unauthorized", "The token is missing or not valid.", False)
KICKED: Final = Close(4501, "kicked", "Removed by the room.", False)
TAKEN_OVER: Final = Close(4502, "taken_over", "The session goes on in another connection.", False)
VIOLATION: Final = Close(4503, "violation", "The client broke the protocol.", False)

CLOSES: Final = (
    CLEAN, TOO_BIG, DRAIN, OVERLOADED, HEARTBEAT, TOO_SLOW, TOKEN_EXPIRED,
    UNAUTHORIZED, KICKED, TAKEN_OVER, VIOLATION,
)  # fmt: skip
