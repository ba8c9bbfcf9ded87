"""Two nodes' clients of one seam, in memory and on NATS, for the contract suites.

`twin` names the implementation: `memory`, `nats` (the fast client) or `plain` (nats-py's own hot
paths, which must do as well). `brokered` opens connections and removes the test's streams after it.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from roomful_nodes.nats_connection import NatsConnection
from roomful_nodes.nats_stored import call
from roomful_nodes.nats_streams import prepare
from roomful_protocol.subjects import Subjects
from roomful_rooms.clock import Clock
from tests.support.nats_server import NatsServer

TWINS = ("memory", "nats", "plain")
CLOCK = Clock(time.monotonic, lambda: time.time_ns() // 10**6)


@asynccontextmanager
async def brokered(
    server: NatsServer, subjects: Subjects, twin: str
) -> AsyncIterator[tuple[NatsConnection, NatsConnection]]:
    """Two connections to a broker with the streams of `subjects`."""
    async with await opened(server, "a", twin) as a, await opened(server, "b", twin) as b:
        await prepare(a, subjects)
        yield a, b
        prefix = subjects.prefix.upper() + "_"
        names = (await call(a, "STREAM.NAMES"))["streams"] or []
        for name in names:
            if name.startswith(prefix):
                await call(a, f"STREAM.DELETE.{name}")


async def opened(server: NatsServer, name: str, twin: str = "nats") -> NatsConnection:
    return await NatsConnection.open(server.url, name=name, token=server.token, lean=twin == "nats")
