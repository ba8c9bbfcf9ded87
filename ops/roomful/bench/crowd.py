"""Many WebSockets at once, read as cheaply as Python can: most of what comes is only weighed.

Everybody in a room is sent the same bytes. So one member of each room is listened to, and what it
hears is counted in messages; of all others the kernel throws away what has come (MSG_TRUNC) and
says how much it was. That all were sent the same is proved in the end, to the byte.
"""

import select
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Self

from roomful.bench.wire import PING, PONG, Broken, client_frame, split

SIZE: Final = 1 << 20
"""Bytes that are read at once, at most."""
BATCH: Final = 1024
"""Sockets that are read between two looks at what else is to be done."""
SILENT_S: Final = 2.0
"""When something is due and nothing has come for so long, it will not come."""
QUIET_S: Final = 0.25
ENTER_S: Final = 120.0
AT_ONCE: Final = 1024
"""Handshakes on the way at a time: with 256, a node's core is idle at times."""
_REQUEST: Final = (
    "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Ear:
    """What is heard on one connection. A message is told by `mark`, which each has once.

    `size`: bytes. `record`: where all that is heard is kept, if anywhere.
    """

    __slots__ = ("_mark", "_rest", "messages", "record", "size")

    def __init__(self, mark: bytes) -> None:
        self._mark, self._rest = mark, b""
        self.size = self.messages = 0
        self.record: bytearray | None = None

    def hear(self, data: bytes | bytearray, size: int) -> None:
        """The first `size` bytes of `data`, which are not copied: a flood has many of them."""
        mark, cut = self._mark, len(self._mark) - 1
        self.size += size
        if self.record is not None:
            self.record += data[:size]
        # A mark that was cut in two is neither in the last piece nor in this one.
        seam = self._rest + data[: min(cut, size)]
        self.messages += data.count(mark, 0, size) + seam.count(mark)
        self._rest = bytes(data[size - cut : size] if size >= cut else seam[-cut:])


class Line:
    """One connection, in one room or none. `greeting`: what came while it entered."""

    __slots__ = ("ear", "greeting", "room", "tcp")

    def __init__(self, made: socket.socket) -> None:
        self.tcp = made
        self.greeting = b""
        self.room: Room | None = None
        self.ear: Ear | None = None


Heard = tuple[float, Line, int]
"""When, on which line, and how many bytes."""


class Room:
    """Lines that are all sent the same. `said`: messages for them; `size`: bytes sent to all."""

    __slots__ = ("_members", "ear", "lines", "said", "size")

    def __init__(self, lines: Sequence[Line], mark: bytes) -> None:
        self.lines, self._members = lines, len(lines)
        self.said = self.size = 0
        self.ear = lines[0].ear = Ear(mark)
        for line in lines:
            line.room = self

    @property
    def heard(self) -> float:
        """Messages that all have, on the average; from how much they have been sent."""
        ear = self.ear
        return self.size * ear.messages / (self._members * ear.size) if ear.size else 0.0

    @property
    def complete(self) -> bool:
        """Whether every line has been sent everything that was said, to the byte."""
        return self.said == self.ear.messages and self.size == self._members * self.ear.size


class Crowd:
    """`waited_s`: how long nothing had come when it was looked for; all else is its own work."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._lines: dict[int, Line] = {}
        self._buffer = bytearray(SIZE)
        self.waited_s = 0.0

    @classmethod
    @contextmanager
    def gathering(cls) -> Iterator[Self]:
        """Nobody yet; whoever has entered leaves when the context ends."""
        crowd = cls()
        try:
            yield crowd
        finally:
            crowd.leave(list(crowd._lines.values()))
            crowd._epoll.close()

    # -- coming and going --------------------------------------------------------------------------

    def enter(
        self, port: int, paths: Iterable[str], until: bytes, mark: bytes | None = None
    ) -> list[Line]:
        """Connect once for each path, AT_ONCE at a time; each is there when it has heard `until`.

        With a `mark`, each is listened to from the beginning. Raises Broken if one is refused, and
        TimeoutError.
        """
        coming: set[int] = set()
        entered: list[Line] = []
        waiting = iter(paths)
        deadline = time.perf_counter() + ENTER_S
        while True:
            while len(coming) < AT_ONCE and (path := next(waiting, None)) is not None:
                entered.append(line := self._dial(port, path))
                line.ear = None if mark is None else Ear(mark)
                coming.add(line.tcp.fileno())
            if not coming:
                return entered
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{len(coming)} of {len(entered)} have not heard {until!r}")
            for fd, _ in self._epoll.poll(0.1, BATCH):
                data = self._read(line := self._lines[fd])
                if line.ear is not None:
                    line.ear.hear(data, len(data))
                if fd in coming:
                    line.greeting += data
                    if until in line.greeting:
                        coming.discard(fd)

    def _dial(self, port: int, path: str) -> Line:
        made = socket.create_connection(("127.0.0.1", port))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.sendall((_REQUEST % path).encode())
        line = self._lines[made.fileno()] = Line(made)
        self._epoll.register(made, select.EPOLLIN)
        return line

    def _read(self, line: Line) -> bytes:
        data = line.tcp.recv(SIZE)
        if not data or data.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")):
            raise Broken(repr(data[:300]))
        return data

    def leave(self, lines: Iterable[Line]) -> None:
        """Close these without a word."""
        for line in lines:
            del self._lines[line.tcp.fileno()]
            line.tcp.close()

    # -- hearing -----------------------------------------------------------------------------------

    def hear(self, noted: list[Heard] | None = None) -> set[Room]:
        """Take what has come, without waiting; the rooms to which something has come. What came
        on each line, and when, is added to `noted`."""
        began = time.perf_counter()
        ready = self._epoll.poll(0, BATCH)
        if not ready:
            self.waited_s += time.perf_counter() - began
            return set()
        lines, buffer, touched = self._lines, self._buffer, set()
        for fd, _ in ready:
            line = lines[fd]
            if line.ear is None:
                size = line.tcp.recv_into(buffer, SIZE, socket.MSG_TRUNC)
            else:
                size = line.tcp.recv_into(buffer)
                line.ear.hear(buffer, size)
            if not size:
                raise Broken("a connection was closed")
            if noted is not None:
                noted.append((time.perf_counter(), line, size))
            if (room := line.room) is not None:
                room.size += size
                touched.add(room)
        return touched

    def settle(self) -> None:
        """Pass over all that comes, until for a moment nothing does; answer pings."""
        while ready := self._epoll.poll(QUIET_S, BATCH):
            for fd, _ in ready:
                self._answer(self._lines[fd])

    def stay(self, seconds: float) -> int:
        """Do nothing but answer pings; how many came."""
        deadline, pings = time.perf_counter() + seconds, 0
        while (left := deadline - time.perf_counter()) > 0:
            for fd, _ in self._epoll.poll(left, BATCH):
                pings += self._answer(self._lines[fd])
        return pings

    def _answer(self, line: Line) -> int:
        data = self._read(line)
        # A ping is small and comes alone: where it is cut in two, the next one will be answered.
        pings = [payload for first, payload in split(data)[0] if first == PING]
        for payload in pings:
            line.tcp.sendall(client_frame(payload, PONG))
        return len(pings)
