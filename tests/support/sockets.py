"""Sockets without a network: what is written to them is taken apart into frames again."""

import json
from collections.abc import Callable
from typing import Any

import msgpack

from roomful_nodes.outbox import Outbox
from roomful_protocol.blocks import EVERYONE, Audience, Entry
from roomful_protocol.codecs import JSON, Codec
from roomful_protocol.codecs.events import event_frame
from roomful_protocol.errors import Close

Json = dict[str, Any]


def frames_in(data: bytes) -> list[tuple[int, bytes]]:
    """(opcode, payload) of every frame, checked to be whole."""
    found, at = [], 0
    while at < len(data):
        first, size, start = data[at], data[at + 1], at + 2
        assert first & 0x80
        assert size < 128, "a node must not mask"
        if size > 125:
            start = at + (4 if size == 126 else 10)
            size = int.from_bytes(data[at + 2 : start], "big")
        at = start + size
        assert len(data) >= at
        found.append((first & 0x0F, data[start:at]))
    return found


class FakeTransport:
    """Keeps what is written. `waiting` is what its buffer pretends to hold; `stuck`: nobody reads,
    so that it grows; `broken`: it raises, as uvloop's do when they are closed."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.waiting = 0
        self.stuck = False
        self.broken = False
        self.reading = True

    def write(self, data: bytes, /) -> None:
        if self.broken:
            raise RuntimeError("the transport is closed")
        self.written.append(data)
        if self.stuck:
            self.waiting += len(data)

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def payloads(self) -> list[tuple[int, bytes]]:
        """(opcode, payload) of every frame."""
        return frames_in(b"".join(self.written))

    def frames(self) -> list[Json]:
        """Every message, decoded."""
        return [
            json.loads(payload) if opcode == 1 else msgpack.unpackb(payload)
            for opcode, payload in self.payloads()
            if opcode in (1, 2)
        ]


class Member:
    """A live member of a feed, with a fake socket, that checks nothing and remembers all."""

    def __init__(
        self,
        session: str,
        user: str = "",
        codec: Codec = JSON,
        ended: Callable[[], None] = lambda: None,
        fd: int = -1,
    ) -> None:
        self.session = session
        self.user = user or session
        self.transport = FakeTransport()
        self.outbox = Outbox(self.transport, codec, ended, lambda _: fd)
        self.behind: list[int] = []

    def fell_behind(self, last: int) -> None:
        self.behind.append(last)

    def failed(self, close: Close) -> None:
        self.outbox.end(close)

    @property
    def frames(self) -> list[Json]:
        return self.transport.frames()

    @property
    def seqs(self) -> list[int]:
        return [frame["seq"] for frame in self.frames if "seq" in frame]


def entry(seq: int, audience: Audience = EVERYONE, text: str = "hi") -> Entry:
    frame = event_frame("chat.message", "lobby", seq, 1_800_000_000_000, data={"text": text})
    return Entry(seq, frame, audience)


def check_chain(frames: list[Json], after: int) -> int:
    """Each event names the one before it that this client was given; the last seq."""
    last = after
    for frame in frames:
        if "seq" in frame:
            assert frame.get("prev", frame["seq"] - 1) == last, f"{frame} after {last}"
            assert frame["seq"] > last
            last = frame["seq"]
    return last
