"""What goes wrong between a client and its node, as exceptions."""

from collections.abc import Mapping
from typing import Any


class RoomfulError(Exception):
    """Something was not carried out.

    `code` is the node's (`protocol/README.md` has the table) or one of the client's own:
    `queue_full` (too much is waiting for answers), `left` (the room was left from here), `closed`
    (the client was), `unreachable` (no node answered in time). A node that ends the connection for
    good gives the code of its `bye`, and one that puts us out of a room `kicked`.
    `retry`: the same may succeed later, unchanged.
    """

    def __init__(
        self, code: str, message: str, *, retry: bool = False, retry_after_ms: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry = retry
        self.retry_after_ms = retry_after_ms

    @classmethod
    def of(cls, error: Mapping[str, Any]) -> "RoomfulError":
        """The exception for the field `error` of a node's frame."""
        return cls(
            error["code"],
            error["message"],
            retry=error["retry"],
            retry_after_ms=error.get("retry_after_ms"),
        )

    def __str__(self) -> str:
        return f"{self.message} ({self.code})"
