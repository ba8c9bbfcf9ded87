"""A hub over one scripted room, and clients that join it without sockets of their own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry
from tests.support.scripted import ScriptedRoom
from tests.support.sockets import FakeTransport, Json

from roomful_nodes.hub import Hub
from roomful_nodes.membership import Membership
from roomful_nodes.memory_bus import BusSwitch, MemoryBus
from roomful_nodes.metrics import Metrics
from roomful_nodes.outbox import Outbox
from roomful_protocol.codecs import JSON, Codec
from roomful_protocol.errors import Close
from roomful_protocol.frames import NEW, Join, Since
from roomful_protocol.messages import Sender
from roomful_protocol.subjects import Subjects
from roomful_rooms.tasks import Tasks


class Client:
    """A client's place in the room, over a fake socket."""

    def __init__(self, world: "World", name: str, codec: Codec = JSON) -> None:
        self.transport = FakeTransport()
        self.closes: list[str] = []
        outbox = Outbox(self.transport, codec, lambda: None)
        room = world.room
        sender = Sender(f"{name}-s", name, name.title(), "n1", f"{name}-attach")
        self.refused = False
        self.membership = Membership(
            room.name, sender, room.lane(room.name, sender), outbox, hub=world.hub,
            tasks=world.tasks, metrics=world.metrics, keeper=self,
        )  # fmt: skip

    def not_let_in(self, _: Membership) -> None:
        self.refused = True

    def fail(self, close: Close) -> None:
        self.closes.append(close.slug)

    def join(self, since: Since = NEW, epoch: str | None = None) -> None:
        self.membership.enter(Join(None, 1, since, epoch), resumed=False)

    @property
    def frames(self) -> list[Json]:
        return self.transport.frames()

    @property
    def seqs(self) -> list[int]:
        return [frame["seq"] for frame in self.frames if "seq" in frame]

    @property
    def joined(self) -> Json:
        return next(frame["data"] for frame in self.frames if frame["type"] == "joined")

    def types(self) -> list[str]:
        return [frame["type"] for frame in self.frames]


class World:
    """One node's hub, the room's owner, and the bus between them (`outside` is another node's)."""

    def __init__(self) -> None:
        self.room = ScriptedRoom()
        self.tasks = Tasks("test")
        self.metrics = Metrics(CollectorRegistry())
        switch = BusSwitch()
        self.subjects = Subjects()
        self.outside = MemoryBus(switch)
        self.hub = Hub(
            "n1", log=self.room.log, archive=self.room.archive, bus=MemoryBus(switch),
            subjects=self.subjects, asks=self.room, loop=asyncio.get_running_loop(),
            tasks=self.tasks, metrics=self.metrics,
        )  # fmt: skip

    def client(self, name: str, codec: Codec = JSON) -> Client:
        return Client(self, name, codec)

    async def joined(self, name: str, since: Since = NEW, codec: Codec = JSON) -> Client:
        """A client that has been told so, and follows an established feed."""
        client = self.client(name, codec)
        client.join(since)
        await until(lambda: "joined" in client.types())
        await turns()
        return client


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    made = World()
    try:
        yield made
    finally:
        await made.hub.close()
        await made.tasks.close()


async def turns(count: int = 8) -> None:
    """Let the loop go round: what is due now happens."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(true: Callable[[], object], within_s: float = 5.0) -> None:
    """Wait for a condition, with a deadline."""
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110 - of whatever kind
            await asyncio.sleep(0.001)
