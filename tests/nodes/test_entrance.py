"""Sockets that come in, or do not."""

import asyncio
import logging
from urllib.parse import urlsplit

import pytest
from tests.support.nodes import MemoryCluster
from tests.support.raw import RawClient

from roomful_nodes.admission import Admission


async def served(url: str) -> None:
    """Come in and go: by then the node has noticed what happened before."""
    client = await RawClient.open(url)
    assert (await client.message())["type"] == "hello"
    await client.close()


async def test_a_client_that_has_gone_before_its_turn_is_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waiting, turn, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def late(_: Admission) -> None:
        if waiting.is_set():
            return
        waiting.set()
        await turn.wait()
        over.set()

    async with MemoryCluster().node() as node:
        monkeypatch.setattr(Admission, "turn", late)
        parts = urlsplit(node.url)
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(
            f"GET /ws HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        async with asyncio.timeout(10):
            await waiting.wait()
            writer.transport.abort()
            await served(node.url)
            turn.set()
            await over.wait()
            await served(node.url)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
