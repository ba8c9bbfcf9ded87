"""A node goes down in good order, whatever goes wrong in it."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from structlog.testing import capture_logs
from tests.support.cluster import until
from tests.support.nodes import MemoryCluster
from tests.support.wire import Wire

from roomful_nodes import node as module


async def breaks() -> None:
    raise RuntimeError("a bug")


async def hangs() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(("hang_up", "reason"), [(breaks, "a bug"), (hangs, "timeout")])
async def test_what_goes_wrong_in_one_step_does_not_keep_the_next_from_happening(
    hang_up: Callable[[], Awaitable[None]],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "STEP_S", 0.5)
    cluster = MemoryCluster()
    async with AsyncExitStack() as running:
        leaving = await running.enter_async_context(cluster.node())
        staying = await running.enter_async_context(cluster.node())
        ann = await Wire.open(leaving.url, room="lobby", user="ann")
        await ann.next("joined")
        with capture_logs() as logs:
            await leaving.node.stop(hang_up)
        failed = [line for line in logs if line["event"] == "node.step_failed"]
        assert [(line["step"], line["reason"]) for line in failed] == [("http", reason)]
        assert (failed[0]["exc_info"] is None) == (hang_up is hangs)
        events = [line["event"] for line in logs]
        assert "node.stopped" in events
        await until(lambda: leaving.node.id not in staying.node._cluster.nodes, "it has left")
        await ann.close()
