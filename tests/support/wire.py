"""A client that speaks the wire protocol by hand, and remembers every frame it was sent."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from typing import Any, Self

import aiohttp

Json = dict[str, Any]


class Wire:
    """One WebSocket. `frames` is all that came; `closed` the close code once there is one."""

    def __init__(self, http: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse):
        self.frames: list[Json] = []
        self.closed: int | None = None
        self.hello: Json = {}
        self._http, self._socket = http, socket
        self._news = asyncio.Condition()
        self._ids = count(1)
        self._reading = asyncio.create_task(self._read(), name="wire")

    @classmethod
    async def open(cls, url: str, **query: str | int | list[str]) -> Self:
        """Connect to the node at `url` (http) and wait for its hello."""
        http = aiohttp.ClientSession()
        try:
            socket = await http.ws_connect(f"{url}/ws", params=_pairs(query), max_msg_size=0)
        except BaseException:
            await http.close()
            raise
        wire = cls(http, socket)
        wire.hello = (await wire.next("hello"))["data"]
        return wire

    async def _read(self) -> None:
        with suppress(aiohttp.ClientError, OSError):
            async for message in self._socket:
                async with self._news:
                    self.frames.append(message.json())
                    self._news.notify_all()
        async with self._news:
            self.closed = self._socket.close_code or 1006
            self._news.notify_all()

    # -- waiting -----------------------------------------------------------------------------------

    async def where(self, within_s: float = 10.0, **fields: Any) -> Json:
        """The first frame, past or coming, whose fields have these values (`data__x` looks in
        data)."""

        def fits(frame: Json) -> bool:
            return all(_field(frame, name) == value for name, value in fields.items())

        async with self._news:
            async with asyncio.timeout(within_s):
                while True:
                    for frame in self.frames:
                        if fits(frame):
                            return frame
                    assert self.closed is None, f"closed {self.closed}, without {fields}"
                    await self._news.wait()
        raise AssertionError("unreachable")

    async def next(self, type: str, within_s: float = 10.0) -> Json:
        return await self.where(within_s, type=type)

    async def news(self) -> None:
        """Wait until something has come, or the connection has ended."""
        async with self._news:
            if self.closed is None:
                await self._news.wait()

    async def until_closed(self, within_s: float = 10.0) -> int:
        async with self._news, asyncio.timeout(within_s):
            await self._news.wait_for(lambda: self.closed is not None)
        assert self.closed is not None
        return self.closed

    # -- talking -----------------------------------------------------------------------------------

    async def send(self, frame: Mapping[str, Any]) -> None:
        await self._socket.send_json(frame)

    async def send_raw(self, raw: str | bytes) -> None:
        await (self._socket.send_str(raw) if isinstance(raw, str) else self._socket.send_bytes(raw))

    async def ask(self, frame: Mapping[str, Any], within_s: float = 10.0) -> Json:
        """Send with a fresh id; the ack, error or other answer to it."""
        id = f"wire-{next(self._ids)}"
        await self.send({**frame, "id": id})
        return await self.where(within_s, id=id)

    async def say(self, room: str, text: str, **more: Any) -> Json:
        frame = {"type": "chat.message", "room": room, "data": {"text": text}}
        return await self.ask(frame | more)

    def events(self, room: str, after: int = 0) -> list[Json]:
        """What was heard of a room's log, in the order in which it was heard."""
        return [f for f in self.frames if f.get("room") == room and f.get("seq", 0) > after
                and f["type"] not in ("ack", "joined", "members")]  # fmt: skip

    def texts(self, room: str) -> list[str]:
        return [f["data"]["text"] for f in self.events(room) if f["type"] == "chat.message"]

    async def close(self) -> None:
        await self._socket.close()
        await self._reading
        await self._http.close()

    async def vanish(self) -> None:
        """Drop the connection without a word."""
        response = self._socket._response
        assert response.connection is not None
        assert response.connection.transport is not None
        response.connection.transport.abort()
        await self._reading
        await self._http.close()


def _pairs(query: Mapping[str, str | int | list[str]]) -> list[tuple[str, str]]:
    return [
        (name, str(one))
        for name, value in query.items()
        for one in (value if isinstance(value, list) else [value])
    ]


def _field(frame: Json, name: str) -> Any:
    value: Any = frame
    for part in name.split("__"):
        value = value.get(part) if isinstance(value, dict) else None
    return value
