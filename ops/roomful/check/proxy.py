"""A TCP proxy that does to connections what networks do: cut, black-hole, delay, starve.

It stands between a client and a server: between a node and its broker, or a browser and its node.
`up` is the way to the server, `down` the way back; a fault of one way only is an asymmetric one.
Faults may be changed at any time and concern the connections that are open and those that come.
"""

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Literal, Self

from roomful_nodes.outbox import GONE
from roomful_rooms.tasks import Tasks

HOST: Final = "127.0.0.1"
CHUNK: Final = 64 * 1024
IN_FLIGHT: Final = 16
"""Chunks of one way of one connection that may be under way; beyond, its sender has to wait."""
GREETING: Final = 1024
"""Bytes of a client's beginning by which its connection is told from others."""
SLICES_PER_S: Final = 20
"""A throttled way passes its bytes in so many portions a second."""

Direction = Literal["up", "down"]
BOTH: Final[tuple[Direction, Direction]] = ("up", "down")


@dataclass(slots=True)
class _Way:
    """What happens to bytes of one direction."""

    passing: asyncio.Event = field(default_factory=asyncio.Event)
    delay_s: float = 0.0
    bytes_per_s: float | None = None


@dataclass(slots=True)
class _Faults:
    """What happens to connections whose client has said `only` at its beginning; b"": to all."""

    only: bytes = b""
    cut: Literal["no", "reset", "close"] = "no"
    up: _Way = field(default_factory=_Way)
    down: _Way = field(default_factory=_Way)

    def way(self, direction: Direction) -> _Way:
        return self.up if direction == "up" else self.down


class FaultProxy:
    """Listens on a port of its own, on loopback, for as long as it is entered (`async with`)."""

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.accepted = 0
        self._target = (host, port)
        self._faults = _Faults()
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
        self._faults.only, self._faults.cut = b"", "no"
        for direction in BOTH:
            way = self._faults.way(direction)
            way.delay_s, way.bytes_per_s = 0.0, None
            way.passing.set()

    def only(self, greeting: bytes) -> None:
        """Until all is healed, faults concern those connections only whose client has `greeting` in
        its first kilobyte: the name that it gives itself, say."""
        self._faults.only = greeting

    def cut(self, *, clean: bool = False) -> None:
        """End all connections and every new one: by a reset, or `clean` by an orderly close."""
        self._faults.cut = "close" if clean else "reset"
        for connection in list(self._open):
            connection.end_if_cut()

    def reset(self) -> None:
        """Reset all connections once; new ones are welcome."""
        for connection in list(self._open):
            if connection.concerned:
                connection.end(reset=True)

    def hold(self, *directions: Direction) -> None:
        """Keep connections open and pass nothing, not even their ends (a black hole); without
        `directions` in both. A new connection is accepted and, if `up` is held, goes no further."""
        for way in directions or BOTH:
            self._faults.way(way).passing.clear()

    def release(self, *directions: Direction) -> None:
        """End a hold of `directions` (none: both), and nothing else."""
        for way in directions or BOTH:
            self._faults.way(way).passing.set()

    def delay(self, seconds: float, *directions: Direction) -> None:
        """Let bytes arrive so much later, in order; those under way keep the delay they have."""
        for way in directions or BOTH:
            self._faults.way(way).delay_s = seconds

    def throttle(self, bytes_per_s: float | None, *directions: Direction) -> None:
        """Let each connection pass so many bytes a second; None: as many as there are."""
        for way in directions or BOTH:
            self._faults.way(way).bytes_per_s = bytes_per_s

    # -- connections -------------------------------------------------------------------------------

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = _Connection(reader, writer, self._faults)
        self._open.add(connection)
        connection.task = self._tasks.start(
            connection.run(self._target), f"connection {self.accepted}"
        )
        connection.task.add_done_callback(lambda _: self._open.discard(connection))
        connection.end_if_cut()


class _Connection:
    """One client's connection, and the one made for it to the server."""

    task: "asyncio.Task[None]"

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, faults: _Faults
    ) -> None:
        self._reader, self._faults = reader, faults
        self._sides = [writer]
        self._greeting = b""

    @property
    def concerned(self) -> bool:
        """Whether faults concern this connection."""
        return self._faults.only in self._greeting

    async def run(self, target: tuple[str, int]) -> None:
        """Pass bytes until both sides have ended, or `end` is called."""
        client = self._sides[0]
        try:
            await self._passing("up")
            reader, server = await asyncio.open_connection(*target, limit=CHUNK)
            self._sides.append(server)
            async with asyncio.TaskGroup() as group:
                up = group.create_task(self._carry("up", self._reader, server), name="proxy up")
                down = group.create_task(self._carry("down", reader, client), name="proxy down")
                await asyncio.gather(up, down)
            for side in self._sides:
                side.close()
                await side.wait_closed()
        except* GONE:
            # The server refuses, or one side has reset: so does the proxy to the other.
            self._drop(reset=True)

    def end(self, *, reset: bool) -> None:
        """Hang up to both sides alike; what is under way is lost."""
        self._drop(reset=reset)
        self.task.cancel()

    def end_if_cut(self) -> None:
        if self._faults.cut != "no" and self.concerned:
            self.end(reset=self._faults.cut == "reset")

    def _drop(self, *, reset: bool) -> None:
        for side in self._sides:
            _drop(side, reset=reset)

    async def _passing(self, direction: Direction) -> None:
        if self.concerned:
            await self._faults.way(direction).passing.wait()

    async def _carry(
        self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One direction of a connection. Raises one of `GONE` if a side has reset or is closed."""
        loop, way = asyncio.get_running_loop(), self._faults.way(direction)
        under_way: asyncio.Queue[tuple[float, bytes | OSError]] = asyncio.Queue(IN_FLIGHT)

        async def take_in() -> None:
            chunk: bytes | OSError = b"-"
            while chunk and isinstance(chunk, bytes):
                try:
                    chunk = await reader.read(CHUNK)
                except OSError as lost:
                    chunk = lost
                else:
                    if direction == "up":
                        self._greeted(chunk)
                delay_s = way.delay_s if self.concerned else 0.0
                await under_way.put((loop.time() + delay_s, chunk))

        async with asyncio.TaskGroup() as group:
            taking = group.create_task(take_in(), name="proxy in")
            while True:
                due, chunk = await under_way.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                await self._passing(direction)
                if isinstance(chunk, OSError):
                    raise chunk
                if not chunk:
                    break
                await self._write(direction, writer, chunk)
            await taking
        with suppress(*GONE):
            writer.write_eof()

    def _greeted(self, chunk: bytes) -> None:
        if len(self._greeting) < GREETING:
            self._greeting += chunk[: GREETING - len(self._greeting)]
            self.end_if_cut()

    async def _write(
        self, direction: Direction, writer: asyncio.StreamWriter, chunk: bytes
    ) -> None:
        way = self._faults.way(direction)
        while chunk:
            rate = way.bytes_per_s if self.concerned else None
            size = len(chunk) if rate is None else max(1, int(rate / SLICES_PER_S))
            portion, chunk = chunk[:size], chunk[size:]
            writer.write(portion)
            await writer.drain()
            if rate is not None:
                await asyncio.sleep(len(portion) / rate)
            await self._passing(direction)


def _drop(side: asyncio.StreamWriter, *, reset: bool) -> None:
    """Close at once, without what is not yet written."""
    # A side that has ended has no socket any more, or (uvloop) one that is none.
    if reset and (wire := side.get_extra_info("socket")) is not None:
        with suppress(OSError, ValueError):
            # Lingering for no time at all makes the kernel send a reset in place of an end.
            linger = struct.pack("ii", 1, 0)
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    side.transport.abort()
