"""A node's sockets and pages together: how they end."""

import asyncio

import pytest
from structlog.testing import capture_logs
from tests.support.nodes import MemoryCluster
from tests.support.raw import RawClient

from roomful_nodes import node as node_module
from roomful_nodes import site as site_module
from roomful_nodes.operator import Operator
from roomful_nodes.outbox import CLOSE_S


async def test_a_request_without_end_keeps_no_socket_open(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def stuck(*_: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Operator, "rooms", stuck)
    monkeypatch.setattr(site_module, "HANDLERS_S", 0.1)
    monkeypatch.setattr(node_module, "STEP_S", 3.0)
    with capture_logs() as logs:
        async with MemoryCluster().node() as node:
            silent = await RawClient.connect(node.url)
            client = await RawClient.connect(node.url)
            client.send(b"GET /api/rooms HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(5):
                await asked.wait()
        assert await client.head() == await silent.head() == b""
        for one in (client, silent):
            await one.close()
    assert "node.step_failed" not in [log["event"] for log in logs]


def test_what_ends_over_http_fits_into_a_step() -> None:
    assert 2 * site_module.HANDLERS_S + CLOSE_S < node_module.STEP_S
