"""The broker's wire protocol as far as the hot paths need it: parsing, commands, headers. No I/O.

Bytes in, calls out: messages go straight to the subscriptions' callbacks, what is not a message
(PING, PONG, INFO, -ERR, +OK) is handed back as lines, for the client that owns the connection.
"""

from collections.abc import Callable, Mapping
from typing import Final

from structlog import get_logger

Heard = Callable[[bytes, bytes | None, bytes | None, bytes], None]
"""Called with subject, reply subject, header block and payload of one message."""

_M: Final = ord("M")
_H: Final = ord("H")
NO_RESPONDERS: Final = b"NATS/1.0 503"
_SEQUENCE: Final = b"\r\nNats-Sequence:"

log = get_logger(__name__)


class Malformed(Exception):
    """These bytes are not the broker's protocol: the connection is of no more use."""


class Parser:
    """One pass over what was read; the incomplete rest waits for the next read."""

    def __init__(self, heard: Mapping[bytes, Heard]) -> None:
        """`heard`: callbacks by subscription id; messages of unknown ones are dropped."""
        self._heard = heard
        self.reset()

    def reset(self) -> None:
        self._parts: list[bytes] = []
        self._held = 0
        self._needed = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Deliver the messages that are complete; the lines in between. Raises Malformed."""
        if self._parts:
            self._parts.append(data)
            self._held += len(data)
            # A large message comes in many reads: they are joined once, when it is whole.
            if self._held < self._needed:
                return []
            data, self._parts = b"".join(self._parts), []
        lines: list[bytes] = []
        done = self._consume(data, lines)
        if done < len(data):
            self._parts, self._held = [data[done:]], len(data) - done
            self._needed -= done
        return lines

    def _consume(self, buffer: bytes, lines: list[bytes]) -> int:
        """How far `buffer` is done with; sets `_needed` to where the rest would be complete."""
        position, end, heard, find = 0, len(buffer), self._heard, buffer.find
        while position < end:
            eol = find(b"\r\n", position)
            if eol < 0:
                break
            first = buffer[position]
            if first != _M and first != _H:
                lines.append(buffer[position:eol])
                position = eol + 2
                continue
            try:
                # (H)MSG subject sid [reply] [header size] size
                _, subject, sid, *more, digits = buffer[position:eol].split()
                size = int(digits)
                split = int(more.pop()) if first == _H else 0
            except (ValueError, IndexError):
                raise Malformed(buffer[position:eol].decode(errors="replace")) from None
            start = eol + 2
            stop = start + size
            if stop + 2 > end:
                self._needed = stop + 2
                return position
            position = stop + 2
            if (callback := heard.get(sid)) is None:
                continue
            reply = more[0] if more else None
            header = buffer[start : start + split] if split else None
            try:
                callback(subject, reply, header, buffer[start + split : stop])
            except Exception:
                # Whatever a listener does wrong must not end the reading of this connection.
                log.exception("nats.listener_failed", subject=subject.decode(errors="replace"))
        self._needed = 0
        return position


def publication(
    subject: bytes, payload: bytes, header: bytes | None = None, reply: bytes = b""
) -> bytes:
    """The command that publishes; `header` is a block made by `headers`."""
    if header is None:
        return b"PUB %b %b %d\r\n%b\r\n" % (subject, reply, len(payload), payload)
    size = len(header)
    return b"HPUB %b %b %d %d\r\n%b%b\r\n" % (
        subject, reply, size, size + len(payload), header, payload,
    )  # fmt: skip


def headers(fields: Mapping[str, str | int]) -> bytes:
    """A header block. Names and values are ours: nothing in them is escaped."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"NATS/1.0\r\n{lines}\r\n".encode()


def status(header: bytes | None) -> int:
    """The status that the broker put into `header`; 0 if it is an ordinary message."""
    if header is None or not header.startswith(b"NATS/1.0 "):
        return 0
    digits = header[9:12]
    return int(digits) if digits.isdigit() else 0


def field(header: bytes | None, name: bytes) -> bytes | None:
    """The value of the header `name`, spelled as the broker spells it."""
    if header is None:
        return None
    start = header.find(b"\r\n%b:" % name)
    if start < 0:
        return None
    start += len(name) + 3
    return header[start : header.index(b"\r\n", start)].strip()


def sequence(header: bytes | None) -> int:
    """The position in its stream of a message that the stream has republished or looked up."""
    if header is None:
        return 0
    start = header.find(_SEQUENCE)
    if start < 0:
        return 0
    start += len(_SEQUENCE)
    return int(header[start : header.index(b"\r", start)])
