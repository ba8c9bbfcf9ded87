"""A TCP proxy that does to connections what networks do: cut, black-hole, delay, starve.

It stands between a client and a server: between a node and its broker, or a browser and its node.
`up` is the way to the server, `down` the way back; a fault of one way only is an asymmetric one.
Faults may be changed at any time and concern the connections that are open and those that come.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal, Self

from roomful_rooms.tasks import Tasks

HOST: Final = "127.0.0.1"
CHUNK: Final = 64 * 1024
IN_FLIGHT: Final = 16
"""Chunks of one way of one connection that may be under way; beyond, its sender has to wait."""
SLICES_PER_S: Final = 20
"""A throttled way passes its bytes in so many portions a second."""

Direction = Literal["up", "down"]
BOTH: Final[tuple[Direction, Direction]] = ("up", "down")


@dataclass(slots=True)
class _Way:
    """What happens to bytes of one direction."""

    passing: asyncio.Event
    delay_s: float = 0.0
    bytes_per_s: float | None = None


class FaultProxy:
    """Listens on a port of its own, on loopback, for as long as it is entered (`async with`)."""

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.accepted = 0
        self._target = (host, port)
        self._ways: dict[Direction, _Way] = {way: _Way(asyncio.Event()) for way in BOTH}
        self._cut: Literal["no", "reset", "close"] = "no"
        self._open: set[_Connection] = set()
        self._tasks = Tasks("proxy")
        self._server: asyncio.Server | None = None
        self.heal()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, 0, limit=CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        await self._tasks.close()

    @property
    def connections(self) -> int:
        """How many are open now."""
        return len(self._open)

    # -- faults ------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Pass everything again. What was held goes on its way, in order."""
        self._cut = "no"
        for way in self._ways.values():
            way.delay_s, way.bytes_per_s = 0.0, None
            way.passing.set()

    def cut(self, *, clean: bool = False) -> None:
        """End all connections and every new one: by a reset, or `clean` by an orderly close."""
        self._cut = "close" if clean else "reset"
        for connection in list(self._open):
            connection.end(reset=not clean)

    def reset(self) -> None:
        """Reset all connections once; new ones are welcome."""
        for connection in list(self._open):
            connection.end(reset=True)

    def hold(self, *directions: Direction) -> None:
        """Keep connections open and pass nothing, not even their ends (a black hole); without
        `directions` in both. A new connection is accepted and, if `up` is held, goes no further."""
        for way in directions or BOTH:
            self._ways[way].passing.clear()

    def release(self, *directions: Direction) -> None:
        """End a hold of `directions` (none: both), and nothing else."""
        for way in directions or BOTH:
            self._ways[way].passing.set()

    def delay(self, seconds: float, *directions: Direction) -> None:
        """Let bytes arrive so much later, in order; those under way keep the delay they have."""
        for way in directions or BOTH:
            self._ways[way].delay_s = seconds

    def throttle(self, bytes_per_s: float | None, *directions: Direction) -> None:
        """Let each connection pass so many bytes a second; None: as many as there are."""
        for way in directions or BOTH:
            self._ways[way].bytes_per_s = bytes_per_s

    # -- connections -------------------------------------------------------------------------------

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._cut != "no":
            _drop(writer, reset=self._cut == "reset")
            return
        connection = _Connection(reader, writer, self._ways)
        self._open.add(connection)
        connection.task = self._tasks.start(
            connection.run(self._target), f"connection {self.accepted}"
        )
        connection.task.add_done_callback(lambda _: self._open.discard(connection))


class _Connection:
    """One client's connection, and the one made for it to the server."""

    task: "asyncio.Task[None]"

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ways: dict[Direction, _Way],
    ) -> None:
        self._reader, self._ways = reader, ways
        self._sides = [writer]

    async def run(self, target: tuple[str, int]) -> None:
        """Pass bytes until both sides have ended, or `end` is called."""
        client, ways = self._sides[0], self._ways
        try:
            await ways["up"].passing.wait()
            reader, server = await asyncio.open_connection(*target, limit=CHUNK)
            self._sides.append(server)
            async with asyncio.TaskGroup() as group:
                up = group.create_task(_carry(self._reader, server, ways["up"]), name="proxy up")
                down = group.create_task(_carry(reader, client, ways["down"]), name="proxy down")
                await asyncio.gather(up, down)
            for side in self._sides:
                side.close()
                await side.wait_closed()
        except* OSError:
            # The server refuses, or one side has reset: so does the proxy to the other.
            self._drop(reset=True)

    def end(self, *, reset: bool) -> None:
        """Hang up to both sides alike; what is under way is lost."""
        self._drop(reset=reset)
        self.task.cancel()

    def _drop(self, *, reset: bool) -> None:
        for side in self._sides:
            _drop(side, reset=reset)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: _Way) -> None:
    """One direction of a connection. Raises OSError if a side has reset."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes | OSError]] = asyncio.Queue(IN_FLIGHT)

    async def take_in() -> None:
        chunk: bytes | OSError = b"-"
        while chunk and isinstance(chunk, bytes):
            try:
                chunk = await reader.read(CHUNK)
            except OSError as lost:
                chunk = lost
            await under_way.put((loop.time() + way.delay_s, chunk))

    async with asyncio.TaskGroup() as group:
        taking = group.create_task(take_in(), name="proxy in")
        while True:
            due, chunk = await under_way.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            await way.passing.wait()
            if isinstance(chunk, OSError):
                raise chunk
            if not chunk:
                break
            await _write(writer, chunk, way)
        await taking
    with suppress(OSError):
        writer.write_eof()


async def _write(writer: asyncio.StreamWriter, chunk: bytes, way: _Way) -> None:
    while chunk:
        size = len(chunk)
        if way.bytes_per_s is not None:
            size = max(1, int(way.bytes_per_s / SLICES_PER_S))
        portion, chunk = chunk[:size], chunk[size:]
        writer.write(portion)
        await writer.drain()
        if way.bytes_per_s is not None:
            await asyncio.sleep(len(portion) / way.bytes_per_s)
        await way.passing.wait()


def _drop(side: asyncio.StreamWriter, *, reset: bool) -> None:
    """Close at once, without what is not yet written."""
    if reset:
        with suppress(OSError):
            # Lingering for no time at all makes the kernel send a reset in place of an end.
            linger = struct.pack("ii", 1, 0)
            side.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    side.transport.abort()
