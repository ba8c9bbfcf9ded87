"""Rooms' logs, read beside the nodes: from the broker of a cluster of ours, or over its API."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from roomful.check.content import Content, sessions
from roomful.check.history import Listed
from roomful.check.roomlog import Logged, RoomLog
from roomful.failure import Failure
from roomful.operators_api import call, room_path
from roomful_nodes.nats_log import NatsLog
from roomful_protocol.blocks import EVERYONE, Audience, Block
from roomful_protocol.codecs.stored import unpack_block
from roomful_protocol.frames import Frame
from roomful_protocol.ids import RoomName
from roomful_rooms.log import Unavailable

LOOK_S: Final = 3.0
"""The broker keeps the newest records of a room only: look often enough to see all."""
RECORDS: Final = 500
EVENTS: Final = 500
ATTEMPTS: Final = 20
PAUSE_S: Final = 0.5


class Scribe:
    """Copies the blocks of `rooms` while they are written."""

    def __init__(self, log: NatsLog, rooms: Iterable[RoomName]) -> None:
        self._log = log
        self._blocks: dict[RoomName, list[Block]] = {room: [] for room in rooms}
        self._positions = dict.fromkeys(self._blocks, 0)

    async def run(self) -> None:
        """Copy, until cancelled; a broker that does not answer is asked later."""
        while True:
            with suppress(Unavailable):
                await self.copy()
            await asyncio.sleep(LOOK_S)

    async def copy(self) -> None:
        """Copy what there is. Raises Unavailable."""
        for room in self._blocks:
            while await self._more(room):
                pass

    async def _more(self, room: RoomName) -> bool:
        records = await self._log.read(room, self._positions[room], RECORDS)
        for record in records:
            self._blocks[room].append(unpack_block(record.data))
            self._positions[room] = record.position
        return len(records) == RECORDS

    @property
    def logs(self) -> list[RoomLog]:
        return [RoomLog.of(room, blocks) for room, blocks in self._blocks.items()]


class Reader:
    """Reads rooms over the operators' API of the node at `url`."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url, self._token = url, token

    async def log(self, room: RoomName, targeted: Mapping[str, Frame]) -> RoomLog:
        """The entries of `room`. Who hears what is told by `targeted`, the messages by key that
        were not for all: the API does not say. Raises Failure."""
        entries: list[Logged] = []
        after, more, epoch = 0, True, ""
        while more:
            page = await self._ask(room_path(room, "events"), after=after, limit=EVENTS)
            entries += [_logged(event, targeted) for event in page["events"]]
            epoch, more = page["epoch"], page["more"] and bool(page["events"])
            after = entries[-1].seq if entries else 0
        return RoomLog(room, epoch, tuple(entries))

    async def members(self, room: RoomName, at: float) -> Listed:
        """Who is there, as operators are told. Raises Failure."""
        data = await self._ask(room_path(room, "members"))
        return Listed(room, data["seq"], sessions(data["members"]), data["count"], at)

    async def _ask(self, path: str, **query: object) -> Any:
        for _ in range(ATTEMPTS - 1):
            try:
                return await call(self._url, self._token, "GET", path, **query)
            except Failure:
                await asyncio.sleep(PAUSE_S)
        return await call(self._url, self._token, "GET", path, **query)


def _logged(event: dict[str, Any], targeted: Mapping[str, Frame]) -> Logged:
    content = Content.of(event)
    said = targeted.get(content.key or "")
    return Logged(event["seq"], content, EVERYONE if said is None else _audience(event, said))


def _audience(event: dict[str, Any], said: Frame) -> Audience:
    """Whom a chat room tells a targeted message: see `Room.relay`."""
    target, sender = said.get("to"), event["from"]
    if isinstance(target, dict):
        echoed = () if said.get("echo") is False else (sender["user"],)
        return Audience(users=(target["user"], *echoed))
    return Audience(skip=sender["session"])
