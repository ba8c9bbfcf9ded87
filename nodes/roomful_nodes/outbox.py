"""The way out to one socket: whole WebSocket frames, written without waiting.

Nothing is queued here: what the kernel does not take waits in the transport, and how much that is
decides what a slow client still gets. Below LOW everything; above it, nothing ephemeral; above
HIGH, no live events at all, only what it can take from the log at its own pace; after PATIENCE_S
without progress, or above MOST, a `bye`.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from roomful_protocol import frames
from roomful_protocol.codecs import BINARY, JSON, TEXT, Codec
from roomful_protocol.errors import TOO_SLOW, Close
from roomful_protocol.frames import Frame

LOW: Final = 256 * 1024
HIGH: Final = 1024 * 1024
MOST: Final = 4 * 1024 * 1024
"""What others may send a client, who is not asked whether it has room for it, ends here."""
PATIENCE_S: Final = 30.0
CLOSE_S: Final = 5.0
"""So long the client's answer to a close is waited for, in seconds."""
GONE: Final = (RuntimeError, OSError)
"""What writing to a closed socket may raise (uvloop does, asyncio does not)."""
_POLL_S: Final = (0.005, 0.25)
"""How often a full socket is looked at again: from the first to the second, doubling."""


class Stalled(Exception):
    """The client has taken nothing for PATIENCE_S."""


class Transport(Protocol):
    """The part of `asyncio.Transport` that is used here."""

    def write(self, data: bytes, /) -> None: ...
    def get_write_buffer_size(self) -> int: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


def framed(payload: bytes, opcode: int) -> bytes:
    """`payload` as one unmasked, final WebSocket frame."""
    heads, size = _HEADS.get(opcode, ()), len(payload)
    return (heads[size] if size < len(heads) else _head(opcode, size)) + payload


def run_of(frames_json: Iterable[bytes], codec: Codec) -> bytes:
    """Frames that exist as JSON, as a client of `codec` is written them, in one piece."""
    # Most clients are shown JSON, and that they are already.
    shown = frames_json if codec is JSON else map(codec.shown, frames_json)
    opcode = codec.opcode
    heads = _HEADS[opcode]
    return b"".join(
        [
            (heads[size] if (size := len(payload)) < USUAL else _head(opcode, size)) + payload
            for payload in shown
        ]
    )


def _head(opcode: int, size: int) -> bytes:
    """What comes before `size` bytes of payload."""
    first = 0x80 | opcode
    if size < 126:
        return (first << 8 | size).to_bytes(2, "big")
    if size < 65_536:
        return (first << 24 | 126 << 16 | size).to_bytes(4, "big")
    return (first << 72 | 127 << 64 | size).to_bytes(10, "big")


USUAL: Final = 1024
"""Most payloads have fewer bytes: so their heads are made once for all."""
_HEADS: Final = {
    opcode: [_head(opcode, size) for size in range(USUAL)] for opcode in (TEXT, BINARY)
}


class Outbox:
    """Writes to one socket until it ends; then silently does nothing.

    `ended` is called once, when the node wants the socket closed: whoever reads the socket then
    closes it with `close`, and nothing is written here after that. `fd_of` tells of a transport the
    `fd` of the socket that it writes to as it is, in clear; -1 if there is more between.
    """

    __slots__ = (
        "_ended", "_fd_of", "_gathered", "_transport", "_turn", "clear", "close", "codec", "fd",
        "open", "rooms",
    )  # fmt: skip

    def __init__(
        self,
        transport: Transport,
        codec: Codec,
        ended: Callable[[], None],
        fd_of: Callable[[Any], int] | None = None,
    ) -> None:
        self.codec = codec
        self.fd = -1
        # Until it is needed: to find it, transports make an object that they keep.
        self._fd_of = fd_of
        # Whether fan-out may write to `fd` past the transport: nothing waits there or is gathered
        # here, nor has since that was seen. It would have to come first, and might come into the
        # middle of a frame that the kernel has taken a part of.
        self.clear = False
        # How many fan-outs write to it.
        self.rooms = 0
        self.open = True
        self.close: Close | None = None
        self._transport = transport
        self._ended = ended
        # Frames that are written before all else.
        self._gathered: list[bytes] | None = None
        # Of those who wait for the socket; made when somebody does.
        self._turn: asyncio.Lock | None = None

    @property
    def waiting(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()

    def push(self, data: bytes) -> None:
        """The transport's own `write`, for fan-out: may raise, and knows nothing of `open`."""
        self._transport.write(data)

    def look(self) -> int:
        """What `waiting` is, seen by fan-out: if it is nothing, the way is clear.

        Not for a member of several rooms: what they say in one turn the transport may join.
        """
        waiting = self._transport.get_write_buffer_size()
        if self._fd_of is not None:
            self.fd, self._fd_of = self._fd_of(self._transport), None
        self.clear = (
            not waiting and self._gathered is None
            and self.rooms == 1 and self.open and self.fd >= 0
        )  # fmt: skip
        return waiting

    def write(self, data: bytes) -> None:
        """Write whole frames."""
        if not self.open:
            return
        self.clear = False
        if self._gathered is not None:
            data, self._gathered = run_of(self._gathered, self.codec) + data, None
        try:
            self._transport.write(data)
        except GONE:
            # Its reader is about to find out.
            self.open = False
        else:
            if self._transport.get_write_buffer_size() > MOST:
                self.end(TOO_SLOW)

    def send(self, frame: Frame) -> None:
        self.write(framed(self.codec.encode(frame), self.codec.opcode))

    def show(self, *frames_json: bytes) -> None:
        """Write frames that exist as JSON already, in one piece."""
        self.write(run_of(frames_json, self.codec))

    def gather(self, frame_json: bytes) -> None:
        """`show`, in one piece with all else that is gathered in this turn of the loop: when it is
        over, or something else is written; with what waits already, if something does."""
        if self._gathered is None:
            if not self.open:
                return
            if self._transport.get_write_buffer_size():
                # The event that this is the answer to, say. All that waits goes out together.
                self.write(framed(self.codec.shown(frame_json), self.codec.opcode))
                return
            self.clear = False
            self._gathered = []
            asyncio.get_running_loop().call_soon(self._turn_over)
        self._gathered.append(frame_json)

    def _turn_over(self) -> None:
        if self._gathered is not None:
            self.write(b"")

    def end(self, close: Close, *, delay_ms: tuple[int, int] = (0, 0)) -> None:
        """Say `bye` and have the socket closed."""
        if not self.open or self.close is not None:
            return
        self.close = close
        self.send(frames.bye(close, delay_ms=delay_ms, resume=close.reconnect))
        # Else the client's own Close would not be heard; and it is not paused any more.
        self.resume_reading()
        self.open = False
        self._ended()

    def shut(self) -> None:
        """The socket is gone: hold nothing of it that a parked membership would keep alive."""
        self.open = self.clear = False
        # Its number may soon be another socket's.
        self.fd, self._fd_of = -1, None
        self._gathered = None
        self._ended = _nothing

    def pause_reading(self) -> None:
        if self.open:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self.open:
            self._transport.resume_reading()

    async def drained(self) -> None:
        """Return once no more than LOW bytes wait, or the socket has ended. Raises Stalled.

        Whoever writes in the turn of the loop in which this returns exceeds LOW by no more than
        that: those who wait for the same socket are let on one after the other.
        """
        if self._turn is None:
            self._turn = asyncio.Lock()
        async with self._turn:
            clock = asyncio.get_running_loop().time
            before, deadline, pause = self.waiting, clock() + PATIENCE_S, _POLL_S[0]
            while self.open and (waiting := self.waiting) > LOW:
                # Others may write meanwhile; whatever has gone, the client has taken.
                if waiting < before:
                    deadline = clock() + PATIENCE_S
                elif clock() >= deadline:
                    raise Stalled
                before = waiting
                await asyncio.sleep(pause)
                pause = min(2 * pause, _POLL_S[1])


def _nothing() -> None:
    """Takes ends that come after the end."""
