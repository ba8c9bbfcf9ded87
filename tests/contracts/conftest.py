"""Every contract test runs on each twin of its seam: two clients of one broker, `pair`.

`memory` is the twin in memory, `nats` the one on a real server over the fast client, `plain` the
same over nats-py's own hot paths.
"""

from collections.abc import AsyncIterator

import pytest
from tests.support.nats_server import NatsServer
from tests.support.twins import CLOCK, brokered

from roomful_nodes.bus import Bus
from roomful_nodes.memory_bus import BusSwitch, MemoryBus
from roomful_nodes.nats_archive import NatsArchive
from roomful_nodes.nats_bus import NatsBus
from roomful_nodes.nats_connection import NatsConnection
from roomful_nodes.nats_directory import NatsDirectory
from roomful_nodes.nats_log import NatsLog
from roomful_protocol.subjects import Subjects
from roomful_rooms.directory import Directory
from roomful_rooms.log import Archive, Log
from roomful_rooms.memory_directory import DirectoryStore, MemoryDirectory
from roomful_rooms.memory_log import LogStore, MemoryArchive, MemoryLog

TWINS = ("memory", "nats", "plain")


@pytest.fixture(params=TWINS)
def twin(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


Connections = tuple[NatsConnection, NatsConnection] | None


@pytest.fixture
async def connections(
    twin: str, request: pytest.FixtureRequest, subjects: Subjects
) -> AsyncIterator[Connections]:
    """Two connections to the shared server; None for the twin in memory."""
    if twin == "memory":
        yield None
        return
    server: NatsServer = request.getfixturevalue("nats_server")
    async with brokered(server, subjects, lean=twin == "nats") as both:
        yield both


@pytest.fixture
def logs(connections: Connections, subjects: Subjects) -> tuple[Log, Log]:
    if connections is None:
        store = LogStore()
        return MemoryLog(store), MemoryLog(store)
    a, b = connections
    return NatsLog(a, subjects), NatsLog(b, subjects)


@pytest.fixture
def archives(connections: Connections, subjects: Subjects) -> tuple[Archive, Archive]:
    if connections is None:
        store = LogStore()
        return MemoryArchive(store), MemoryArchive(store)
    a, b = connections
    return NatsArchive(a, subjects), NatsArchive(b, subjects)


@pytest.fixture
async def directories(connections: Connections, subjects: Subjects) -> tuple[Directory, Directory]:
    if connections is None:
        store = DirectoryStore(CLOCK)
        return MemoryDirectory(store), MemoryDirectory(store)
    a, b = connections
    return NatsDirectory(a, subjects), NatsDirectory(b, subjects)


@pytest.fixture
def buses(connections: Connections) -> tuple[Bus, Bus]:
    if connections is None:
        switch = BusSwitch()
        return MemoryBus(switch), MemoryBus(switch)
    a, b = connections
    return NatsBus(a), NatsBus(b)
