"""Fixtures: a broker of the test's own, and nodes on it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.support.cluster import NodeProcess
from tests.support.nats_server import NatsServer
from tests.support.party import Party
from tests.support.wire import Wire

StartNode = Callable[..., Awaitable[NodeProcess]]
Connect = Callable[..., Awaitable[Wire]]


@pytest.fixture
async def start_node(frail_server: NatsServer, tmp_path: Path) -> AsyncIterator[StartNode]:
    """Start nodes of one cluster on `frail_server`: `await start_node(*flags)`. `nats`: another way
    to it."""
    async with AsyncExitStack() as running:

        async def start(
            *flags: str, port: int | None = None, nats: str | None = None
        ) -> NodeProcess:
            node = NodeProcess(
                tmp_path, "--nats", nats or frail_server.url, "--nats-token", frail_server.token,
                "--lease-s", "2", "--grace-s", "3", *flags, port=port,
            )  # fmt: skip
            running.push_async_callback(node.cleanup)
            return await node.start()

        yield start


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Open clients that are closed at the end: `await connect(node, room="lobby")`."""
    async with AsyncExitStack() as running:

        async def open(node: NodeProcess, **query: str | int | list[str]) -> Wire:
            wire = await Wire.open(node.url, **query)
            running.push_async_callback(wire.close)
            return wire

        yield open


@pytest.fixture
async def party(start_node: StartNode) -> AsyncIterator[Party]:
    """Three people on two nodes."""
    party = Party([await start_node(), await start_node()])
    await party.gather()
    yield party
    await party.leave()
