"""The wire protocol as the scenarios speak it: join a room, say something, hear of its ack."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from roomful.bench.closed_loop import ClosedLoop
from roomful.bench.subject import PAYLOAD
from roomful.bench.wire import Broken, Heard, Socket, answered, client_frame

Json = dict[str, Any]


def is_ack(payload: bytes) -> bool:
    return b'"type":"ack"' in payload[:40]


def error_in(payload: bytes) -> Broken | None:
    """What a node has said instead of what was asked for; None if it is no error."""
    return Broken(payload[:300].decode()) if b'"type":"error"' in payload[:40] else None


def is_message(payload: bytes) -> bool:
    return b'"type":"chat.message"' in payload[:40]


def message(id: int | None = None) -> bytes:
    """A client's frame that says PAYLOAD; with an `id`, its ack is wanted."""
    named = b"" if id is None else b'"id":%d,' % id
    return b'{"type":"chat.message",%b"data":{"p":"%b"}}' % (named, PAYLOAD)


async def joined(port: int, room: str, name: str, **query: str | int) -> tuple[Socket, Json]:
    """A socket that is in `room`, hearing nothing yet; and what `joined` said."""
    reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def heard(payload: bytes) -> None:
        if b'"type":"joined"' in payload[:40] and not reply.done():
            reply.set_result(payload)

    path = f"/ws?{urlencode({'room': room, 'name': name, **query})}"
    socket = await Socket.open(port, path, heard)
    said = await answered(reply, socket)
    socket.heard = lambda _: None
    frame: Json = json.loads(said)
    return socket, frame["data"]


def asking(loop: ClosedLoop, sockets: list[Socket]) -> None:
    """Let `loop` say things on one of `sockets` after the other, and count acks."""
    turn, id = 0, 0

    def ask() -> None:
        nonlocal turn, id
        id += 1
        turn = (turn + 1) % len(sockets)
        sockets[turn].send(message(id))

    loop.ask = ask
    for socket in sockets:
        socket.heard = _hearing(loop)


def _hearing(loop: ClosedLoop) -> Heard:
    def heard(payload: bytes) -> None:
        if is_ack(payload):
            loop.answered()
        elif (error := error_in(payload)) is not None:
            loop.fail(error)

    return heard


@asynccontextmanager
async def echoing(port: int, in_flight: int, sockets: int = 1) -> AsyncIterator[ClosedLoop]:
    """The same against a server that sends everything back: what this client can do at all."""
    loop, frame = ClosedLoop(in_flight), client_frame(message(1))
    lines = [await Socket.open(port, "/echo", lambda _: loop.answered()) for _ in range(sockets)]
    turn = 0

    def ask() -> None:
        nonlocal turn
        turn = (turn + 1) % len(lines)
        lines[turn].write(frame)

    loop.ask = ask
    yield loop
    await closed(lines)


async def closed(sockets: Iterable[Socket]) -> None:
    for socket in sockets:
        await socket.close()
