"""Fixtures: connections to a server of the test's own, with a cluster's streams on it.

connection      one node's; each test runs with the fast client and with the plain one
witness         another node's
"""

from collections.abc import AsyncIterator

import pytest
from tests.support.nats_server import NatsServer
from tests.support.twins import opened

from roomful_nodes.nats_connection import NatsConnection
from roomful_nodes.nats_streams import prepare
from roomful_protocol.subjects import Subjects


@pytest.fixture(params=[True, False], ids=["lean", "plain"])
async def connection(
    frail_server: NatsServer, subjects: Subjects, request: pytest.FixtureRequest
) -> AsyncIterator[NatsConnection]:
    async with await opened(frail_server, "test", request.param) as connection:
        await prepare(connection, subjects)
        yield connection


@pytest.fixture
async def witness(frail_server: NatsServer) -> AsyncIterator[NatsConnection]:
    async with await opened(frail_server, "witness") as connection:
        yield connection
