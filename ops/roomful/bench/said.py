"""What the load says, ready to be sent: frames of one length, whose messages can be counted."""

import re
from collections.abc import Callable
from functools import lru_cache
from itertools import count
from typing import Final

from roomful.bench.wire import client_frame

Frames = Callable[[int], bytes]
"""So many messages, each a client's frame, in one piece."""
Numbered = Callable[[int], bytes]
"""The message of this number, as a client's frame."""

MARK: Final = b"^"
"""Once in each message that is said, and nowhere else in what a server sends."""
SIZE: Final = 100
PAYLOAD: Final = MARK + b"x" * (SIZE - len(MARK))
ACK: Final = b'"type":"ack"'
_KEPT: Final = b'{"type":"chat.message","data":{"p":"%b"}}'
_EPHEMERAL: Final = b'{"type":"chat.message","data":{"p":"%b"},"ephemeral":true}'
_FIRST_ID: Final = 10_000_000
"""Ids that all have the same number of digits."""

_NUMBER: Final = re.compile(rb"\^(\d{8})")
_NUMBERED: Final = b"%b00000000%b" % (MARK, b"x" * (SIZE - 9))


def kept() -> Frames:
    """Messages that go through the log; no acks are wanted."""
    return _repeated(_KEPT % PAYLOAD)


def ephemeral() -> Frames:
    """Messages that pass the log by."""
    return _repeated(_EPHEMERAL % PAYLOAD)


def raw(size: int = SIZE) -> Frames:
    """Only a payload, for servers that know nothing but frames."""
    return _repeated(MARK + b"x" * (size - len(MARK)))


def acked() -> Frames:
    """Messages whose acks are wanted, each under an id of its own."""
    ids = count(_FIRST_ID)
    payload = b'{"type":"chat.message","id":%d,"data":{"p":"%b"}}' % (_FIRST_ID, PAYLOAD)
    before, after = client_frame(payload).split(b"%d" % _FIRST_ID)

    def frames(wanted: int) -> bytes:
        return b"".join([b"%b%d%b" % (before, next(ids), after) for _ in range(wanted)])

    return frames


def numbered(*, kept: bool = True) -> Numbered:
    """Messages with their numbers after the mark; unless `kept`, they pass the log by."""
    message = (_KEPT if kept else _EPHEMERAL) % _NUMBERED
    before, after = client_frame(message).split(b"00000000")
    return lambda number: b"%b%08d%b" % (before, number, after)


def number_in(event: bytes) -> int | None:
    """The number of the message in what a server has sent, if there is one."""
    found = _NUMBER.search(event)
    return None if found is None else int(found[1])


def to(target: bytes) -> Frames:
    """Messages outside of rooms; `target` as JSON."""
    return _repeated(b'{"type":"chat.whisper","to":%b,"data":{"p":"%b"}}' % (target, PAYLOAD))


def _repeated(payload: bytes) -> Frames:
    frame = client_frame(payload)
    return lru_cache(maxsize=4096)(lambda wanted: frame * wanted)
