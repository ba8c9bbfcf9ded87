"""Seam: messages between nodes, at most once, in the order of one sender."""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from roomful_rooms.log import Following


class Message(Struct, frozen=True):
    """`undelivered`: nobody listened to a message of ours that asked for replies on `subject`."""

    subject: str
    payload: bytes
    reply: str | None = None
    undelivered: bool = False


class Bus(Protocol):
    @property
    def connected(self) -> bool:
        """False while the broker is away; what is published then is sent later or dropped."""
        ...

    @property
    def losses(self) -> int:
        """How often the connection was lost so far. It may be back before anybody has looked."""
        ...

    def publish(self, subject: str, payload: bytes, reply: str | None = None) -> None:
        """Send without waiting. With `reply`, an `undelivered` message comes back on that subject
        at once if nobody listens to `subject`. Own messages are not heard by oneself.

        Payloads are at most `MAX_PAYLOAD` bytes; raises ValueError beyond. While the broker is away
        a bounded amount is buffered, the rest dropped: whoever needs an answer sets a deadline.
        """
        ...

    async def subscribe(self, subject: str, heard: Callable[[Message], None]) -> Following:
        """Call `heard` for each message on `subject` (`*` matches one token). It must not block and
        must not raise; if it raises, that is logged and the next message comes all the same.

        Returns once the broker knows of it: what is published after that is heard.
        """
        ...

    async def subscribe_all(
        self, subjects: Sequence[str], heard: Callable[[Message], None]
    ) -> Sequence[Following]:
        """`subscribe` to each of them, for hardly more than to one."""
        ...


MAX_PAYLOAD = 900_000
"""Bytes of one message; below the broker's limit of 1 MiB, headers included."""
