"""The same bytes with no work: a server that sends every room what it is told to, on any message.

`python -m roomful.bench.bare PORT FILE SIZE`: for each SIZE bytes that a member of a room sends,
every member is sent what FILE holds; joined, for all that one turn of the loop brought. Nothing is
parsed, numbered, kept or checked. What Python and the kernel cost at the least, and whether the
load generator could have kept up with more than what was measured.
"""

import select
import socket
import sys
from pathlib import Path
from typing import Final

SIZE: Final = 1 << 20
_WELCOME: Final = b'{"type":"joined"}'
UPGRADED: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81%c%b"
) % (len(_WELCOME), _WELCOME)


class Member:
    """`due`: what the kernel has not taken yet."""

    __slots__ = ("due", "room", "tcp")

    def __init__(self, made: socket.socket) -> None:
        self.tcp = made
        self.room: Room | None = None
        self.due = b""


class Room:
    """Members, and how many bytes they have sent that are not answered yet."""

    __slots__ = ("credit", "members")

    def __init__(self) -> None:
        self.members: set[Member] = set()
        self.credit = 0


class Bare:
    """Serves until it is killed."""

    def __init__(self, port: int, answer: bytes, size: int) -> None:
        self._answer, self._size = answer, size
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._members: dict[int, Member] = {}
        self._rooms: dict[str, Room] = {}
        self._buffer = bytearray(SIZE)

    def turn(self) -> None:
        """Take what has come; send what it is worth."""
        touched: set[Room] = set()
        for fd, events in self._epoll.poll():
            if fd == self._listener.fileno():
                self._accept()
                continue
            member = self._members[fd]
            if events & select.EPOLLOUT:
                self._send(member, member.due)
            if events & ~select.EPOLLOUT and (room := self._read(member)) is not None:
                touched.add(room)
        for room in touched:
            count, room.credit = divmod(room.credit, self._size)
            if data := self._answer * count:
                for member in room.members:
                    self._send(member, member.due + data if member.due else data)

    def _accept(self) -> None:
        made, _ = self._listener.accept()
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._members[made.fileno()] = Member(made)
        self._epoll.register(made, select.EPOLLIN)

    def _read(self, member: Member) -> Room | None:
        """Which room something was said in."""
        try:
            size = member.tcp.recv_into(self._buffer, SIZE, self._flags(member))
        except OSError:
            size = 0
        room = member.room
        if not size:
            del self._members[member.tcp.fileno()]
            member.tcp.close()
            if room is not None:
                room.members.discard(member)
            return None
        if room is None:
            self._enter(member, bytes(self._buffer[:size]))
        else:
            room.credit += size
        return room

    @staticmethod
    def _flags(member: Member) -> int:
        # Of what a member says only the length counts.
        return 0 if member.room is None else socket.MSG_TRUNC

    def _enter(self, member: Member, request: bytes) -> None:
        name = request.split(b" ", 2)[1].partition(b"room=")[2].partition(b"&")[0].decode()
        member.room = self._rooms.setdefault(name, Room())
        member.room.members.add(member)
        self._send(member, UPGRADED)

    def _send(self, member: Member, data: bytes) -> None:
        waited = bool(member.due)
        try:
            sent = member.tcp.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return  # what is left of it is seen when it is read
        member.due = data[sent:]
        if bool(member.due) != waited:
            more = select.EPOLLOUT if member.due else 0
            self._epoll.modify(member.tcp, select.EPOLLIN | more)


def main() -> None:
    port, file, size = sys.argv[1:]
    bare = Bare(int(port), Path(file).read_bytes(), int(size))
    while True:
        bare.turn()


if __name__ == "__main__":
    main()
