"""The face that both client codecs show to a gateway."""

from typing import Final, Protocol

from roomful_protocol.errors import Code, Refused
from roomful_protocol.frames import ClientFrame, Frame

TEXT: Final = 1
"""The WebSocket opcode of text messages."""
BINARY: Final = 2
"""The WebSocket opcode of binary messages."""


class Codec(Protocol):
    """One sub-protocol: what its clients send and are sent. Stateless, shared by all sockets."""

    @property
    def subprotocol(self) -> str:
        """Its name in the WebSocket handshake."""
        ...

    @property
    def opcode(self) -> int:
        """The kind of its messages in both directions, `TEXT` or `BINARY`."""
        ...

    def decode(self, raw: bytes) -> ClientFrame:
        """The frame in one message of a client.

        Raises Refused, and nothing else whatever the client sent: with a sentence naming the field
        at fault, and with the frame's `id` where that could still be read.
        """
        ...

    def encode(self, frame: Frame) -> bytes:
        """The message for a frame built by `frames`. Raises ValueError if `data` does not fit."""
        ...

    def shown(self, frame_json: bytes) -> bytes:
        """The message for a frame that exists as JSON already (an event of a room)."""
        ...


def wrong_kind(codec: Codec) -> Refused:
    """The refusal of a binary message where text is due, and the other way round."""
    due, got = ("text", "binary") if codec.opcode == TEXT else ("binary", "text")
    return Refused(
        Code.BAD_FRAME, f"This connection speaks {codec.subprotocol}: send {due}, not {got}."
    )
