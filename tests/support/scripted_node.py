"""A node that says what a test wants: real sockets, a log that is a list, faults on demand."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from roomful_protocol.codecs.json import dumps, loads

Frame = dict[str, Any]
LIMITS = {"message_bytes": 65_536, "messages_per_s": 5000, "burst": 5000, "rooms": 128}


class ScriptedNode:
    """One room, `lobby`, of one member; everything said becomes an event, once per id.

    `heard` are the frames that clients sent, `queries` those of their connections. `before` sees
    each frame first; if it returns True the frame is taken to be lost.
    """

    def __init__(self) -> None:
        self.log: list[Frame] = []
        self.heard: list[Frame] = []
        self.queries: list[dict[str, str]] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.before: Callable[[Frame], bool] = lambda _: False
        self.refuse: int | None = None
        self.retry_after: str | None = None
        self.heartbeat_s = 25.0
        self._happened = asyncio.Event()
        self._acks: dict[str, Frame] = {}
        app = web.Application()
        app.router.add_get("/ws", self._connected)
        self.server = TestServer(app)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.server.port}"

    async def __aenter__(self) -> "ScriptedNode":
        await self.server.start_server()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.cut()
        await self.server.close()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what comes of connections and frames; 10 s at most."""
        async with asyncio.timeout(10):
            while not condition():
                self._happened.clear()
                await self._happened.wait()

    async def connected(self, times: int) -> None:
        """Wait for so many connections in all, the newest of them open."""
        await self.until(lambda: len(self.queries) >= times and bool(self.sockets))

    def cut(self) -> None:
        """Break every connection without a word, as a dying machine would."""
        for socket in self.sockets:
            transport = socket._req.transport if socket._req is not None else None
            if transport is not None:
                transport.abort()
        self.sockets.clear()

    async def tell(self, frame: Frame) -> None:
        for socket in list(self.sockets):
            await _send(socket, frame)

    async def close(self, code: int, bye: Frame | None = None) -> None:
        """Say `bye` and close every socket."""
        for socket in list(self.sockets):
            if bye is not None:
                await _send(socket, {"type": "bye", "data": bye})
            await socket.close(code=code)

    def write(self, data: object) -> Frame:
        """One more event in the log; who is connected does not hear it."""
        seq = len(self.log) + 1
        frame = {"type": "chat.message", "room": "lobby", "seq": seq, "ts": seq, "data": data}
        self.log.append(frame)
        return frame

    async def _connected(self, request: web.Request) -> web.StreamResponse:
        self.queries.append(dict(request.query))
        if self.refuse is not None and self.refuse < 1000:
            raise _status(self.refuse, self.retry_after)
        socket = web.WebSocketResponse(protocols=("roomful.v1.json",), autoping=True)
        await socket.prepare(request)
        if self.refuse is not None:
            await socket.close(code=self.refuse)
            return socket
        self.sockets.append(socket)
        self._happened.set()
        await _send(socket, self._hello(request.query.get("session", "s1")))
        with suppress(aiohttp.ClientError, ConnectionError):
            async for message in socket:
                if socket not in self.sockets:
                    break  # It was cut: what is still in its buffers never arrived.
                frame = loads(message.data.encode())
                self.heard.append(frame)
                self._happened.set()
                if not self.before(frame):
                    await self._answer(socket, frame)
        return socket

    def _hello(self, session: str) -> Frame:
        data = {
            "protocol": 1, "node": "n1", "session": session, "secret": "x", "user": "ann",
            "name": "Ann", "heartbeat_s": self.heartbeat_s, "limits": LIMITS, "expires_s": None,
            "time": 1,
        }  # fmt: skip
        return {"type": "hello", "data": data}

    async def _answer(self, socket: web.WebSocketResponse, frame: Frame) -> None:
        match frame["type"]:
            case "join":
                await self._joined(socket, frame)
            case "leave":
                await _send(socket, {"type": "left", "id": frame["id"], "room": "lobby"})
            case "bye":
                data = {"code": "clean", "message": "Goodbye.", "reconnect": False}
                await _send(socket, {"type": "bye", "data": data})
                await socket.close()
            case "history":
                data = {"events": self.log[-frame["limit"] :], "more": False}
                await _send(socket, {"type": "history", "id": frame["id"], "data": data})
            case "members":
                data = {"members": [], "count": 1, "seq": len(self.log)}
                await _send(socket, {"type": "members", "id": frame["id"], "data": data})
            case "ping":
                await _send(socket, {"type": "pong", "data": {"time": 1}})
            case "auth":
                await _send(socket, {"type": "ack", "id": frame["id"]})
            case _:
                await self._said(socket, frame)

    async def _joined(self, socket: web.WebSocketResponse, frame: Frame) -> None:
        since = frame["since"] if isinstance(frame["since"], int) else len(self.log)
        data = {
            "epoch": "e1", "seq": len(self.log), "recovered": True, "gap": None, "members": [],
            "count": 1,
        }  # fmt: skip
        await _send(socket, {"type": "joined", "id": frame["id"], "room": "lobby", "data": data})
        for event in self.log[since:]:
            await _send(socket, event)

    async def _said(self, socket: web.WebSocketResponse, frame: Frame) -> None:
        if "to" in frame and "room" not in frame:
            ack = {"type": "ack", "id": frame["id"], "data": {"delivered": 2}}
        elif frame.get("id") in self._acks:
            ack = self._acks[frame["id"]] | {"duplicate": True}
        else:
            event = self.write(frame.get("data"))
            ack = {"type": "ack", "id": frame.get("id"), "room": "lobby", "seq": event["seq"]}
            self._acks[frame.get("id", "")] = ack
            await self.tell(event)
        await _send(socket, ack)


def _status(status: int, retry_after: str | None) -> web.HTTPException:
    made = {401: web.HTTPUnauthorized, 503: web.HTTPServiceUnavailable}[status]
    return made(headers=None if retry_after is None else {"Retry-After": retry_after})


async def _send(socket: web.WebSocketResponse, frame: Frame) -> None:
    with suppress(ConnectionError, aiohttp.ClientError):
        await socket.send_str(dumps(frame).decode())
