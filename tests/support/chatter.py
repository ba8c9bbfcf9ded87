"""A well-behaved client under faults: says one thing after another, retries under the same id,
reconnects to any node, resumes its session, and recovers what it missed."""

import asyncio
from contextlib import suppress
from uuid import uuid4

import aiohttp
from tests.support.cluster import NodeProcess
from tests.support.wire import Json, Wire

RETRYABLE = {"unavailable", "busy", "rate_limited", "not_joined"}


class Chatter:
    """`heard` is its view of the room over all its connections, `acked` the texts that were,
    `refused` the codes of errors that made it try again."""

    def __init__(self, name: str, room: str, nodes: list[NodeProcess]) -> None:
        self.name, self.room = name, room
        self.heard: list[Json] = []
        self.acked: list[str] = []
        self.refused: list[str] = []
        self.gaps: list[Json] = []
        self.sessions: set[str] = set()
        self.connections = 0
        self.hello: Json = {}
        self.start_seq = 0
        self._nodes = nodes
        self._wire: Wire | None = None
        self._epoch = ""
        self._resume: dict[str, str] = {}

    @property
    def last(self) -> int:
        return self.heard[-1]["seq"] if self.heard else self.start_seq

    async def connect(self) -> None:
        """Be connected to whichever node answers, in the room, with everything missed."""
        for attempt in range(200):
            node = self._nodes[attempt % len(self._nodes)]
            with suppress(aiohttp.ClientError, OSError, AssertionError, TimeoutError):
                await self._open(node)
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{self.name} found no node that answers")

    async def _open(self, node: NodeProcess) -> None:
        since: dict[str, str | int] = (
            {"since": self.last, "epoch": self._epoch} if self._epoch else {}
        )
        query: dict[str, str | int | list[str]] = {
            "room": self.room, "user": self.name, "name": self.name, **self._resume, **since,
        }  # fmt: skip
        wire = await Wire.open(node.url, **query)
        try:
            joined = await wire.where(type="joined", room=self.room)
        except BaseException:
            await wire.close()
            raise
        self._wire = wire
        self.connections += 1
        self.hello = hello = wire.hello
        data = joined["data"]
        self._resume = {"session": hello["session"], "secret": hello["secret"]}
        self.sessions.add(hello["session"])
        if not self._epoch:
            self.start_seq = data["seq"]
        elif not data["recovered"]:
            self.gaps.append(data)
        self._epoch = data["epoch"]

    def collect(self) -> None:
        """Take over what the current connection has heard so far."""
        if self._wire is not None:
            for event in self._wire.events(self.room):
                if event["seq"] > self.last:
                    self.heard.append(event)

    async def say(self, text: str, within_s: float = 30.0) -> Json:
        """Say it until it is acknowledged, however often the connection is lost."""
        frame = {
            "type": "chat.message", "room": self.room, "data": {"text": text}, "id": str(uuid4()),
        }  # fmt: skip
        async with asyncio.timeout(within_s):
            while True:
                await self.be_connected()
                assert self._wire is not None
                with suppress(aiohttp.ClientError, OSError, AssertionError, TimeoutError):
                    seen = len(self._wire.frames)
                    await self._wire.send(frame)
                    answer = await self._answer(frame["id"], seen)
                    if answer["type"] == "ack":
                        self.acked.append(text)
                        return answer
                    self.refused.append(answer["error"]["code"])
                    assert self.refused[-1] in RETRYABLE, answer
                await asyncio.sleep(0.02)

    async def _answer(self, id: object, seen: int) -> Json:
        """The answer to `id` among the frames after the first `seen`."""
        assert self._wire is not None
        async with asyncio.timeout(12.0):
            while True:
                for frame in self._wire.frames[seen:]:
                    if frame.get("id") == id:
                        return frame
                assert self._wire.closed is None
                await self._wire.news()

    async def be_connected(self) -> None:
        """Come back if the connection was lost."""
        if self._wire is None or self._wire.closed is not None:
            await self.reconnect()

    async def reconnect(self) -> None:
        self.collect()
        if self._wire is not None:
            await self._wire.close()
        await self.connect()

    async def close(self) -> None:
        if self._wire is not None:
            self.collect()
            await self._wire.close()
            self._wire = None
