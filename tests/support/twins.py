"""What tests of the broker's twins share: connections, streams that go after the test, waiting."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.support.nats_server import NatsServer

from roomful_nodes.nats_connection import NatsConnection
from roomful_nodes.nats_stored import call
from roomful_nodes.nats_streams import prepare
from roomful_protocol.subjects import Subjects
from roomful_rooms.clock import Clock

CLOCK = Clock(time.monotonic, lambda: time.time_ns() // 10**6)


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait until something has been heard. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - the condition is the test's, not an event's
            await asyncio.sleep(0.005)


async def opened(
    server: NatsServer, name: str, lean: bool | None = None, timeout_s: float = 10.0
) -> NatsConnection:
    return await NatsConnection.open(
        server.url, name=name, token=server.token, lean=lean, timeout_s=timeout_s
    )


@asynccontextmanager
async def brokered(
    server: NatsServer, subjects: Subjects, lean: bool | None = None
) -> AsyncIterator[tuple[NatsConnection, NatsConnection]]:
    """Two connections to a broker with the streams of `subjects`, which are removed afterwards."""
    async with await opened(server, "a", lean) as a, await opened(server, "b", lean) as b:
        await prepare(a, subjects)
        try:
            yield a, b
        finally:
            await remove_streams(a, subjects)


async def remove_streams(connection: NatsConnection, subjects: Subjects) -> None:
    names: list[str] = (await call(connection, "STREAM.NAMES"))["streams"] or []
    mine = [name for name in names if name.startswith(subjects.prefix.upper() + "_")]
    await asyncio.gather(*(call(connection, f"STREAM.DELETE.{name}") for name in mine))


class Echo:
    """Answers what is asked on `subject` with the same, and remembers it."""

    def __init__(self, connection: NatsConnection, subject: str) -> None:
        self.subject = subject
        self.heard: list[bytes] = []
        self._connection = connection

    async def start(self) -> None:
        await self._connection.listen(self.subject, self._hear)

    def _hear(self, _: bytes, reply: bytes | None, __: bytes | None, payload: bytes) -> None:
        self.heard.append(payload)
        if reply is not None:
            self._connection.publish(reply, payload)
