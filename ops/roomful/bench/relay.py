"""What is said, told to everybody at a node's pace, with no work: how long that takes at the least.

`python -m roomful.bench.relay PORT SIZE`: there is one room. What a member says, every member is
sent as a frame of SIZE bytes; joined with all else that was said meanwhile, at the pace of a node.
Nothing is decoded, numbered, kept or checked: what is left is the loop, reads, waiting and writes.
"""

import asyncio
import sys
from os import write
from typing import Final, cast

from roomful.bench.bare import UPGRADED
from roomful.loop import run
from roomful_nodes.outbox import framed
from roomful_protocol.codecs import TEXT
from roomful_rooms.pace import Pace

_SHORT: Final = 126
"""Payloads from this size on have two more bytes before them."""
_MASK: Final = 4


class Relay:
    """The room. `members`: their sockets' numbers; what was said, for all of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, size: int) -> None:
        self._size, self._pace = size, Pace(loop)
        self._said: list[bytes] = []
        self.members: set[int] = set()

    def say(self, payload: bytes) -> None:
        """Have everybody sent it, soon."""
        self._said.append(framed(payload.ljust(self._size), TEXT))
        if len(self._said) == 1:
            self._pace.call(self._tell)

    def _tell(self) -> None:
        self._pace.busy = len(self._said) > 1
        data, self._said = b"".join(self._said), []
        for fd in self.members:
            if write(fd, data) != len(data):
                raise BufferError("A member does not read what little it is sent.")


class Member(asyncio.Protocol):
    """One connection: a request for a WebSocket, then frames masked with zeros."""

    def __init__(self, relay: Relay) -> None:
        self._relay, self._fd = relay, -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._fd < 0:
            self._fd = self._transport.get_extra_info("socket").fileno()
            self._relay.members.add(self._fd)
            self._transport.write(UPGRADED)
            return
        while data:
            size, start = data[1] & 0x7F, 2 + _MASK
            if size == _SHORT:
                size, start = int.from_bytes(data[2:4], "big"), 4 + _MASK
            self._relay.say(data[start : start + size])
            data = data[start + size :]

    def connection_lost(self, exc: Exception | None) -> None:
        self._relay.members.discard(self._fd)


async def main(port: int, size: int) -> None:
    loop = asyncio.get_running_loop()
    relay = Relay(loop, size)
    server = await loop.create_server(lambda: Member(relay), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    run(main(*map(int, sys.argv[1:])))
