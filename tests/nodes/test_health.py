"""Alive, ready, metrics, and the measure of a blocked loop."""

import asyncio
import time
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from tests.support.cluster import until

from roomful_nodes.health import alive, exposition, measure_loop_lag, ready
from roomful_nodes.metrics import Metrics


@pytest.mark.parametrize(("reasons", "status"), [([], 200), (["It drains.", "No broker."], 503)])
async def test_ready_or_why_not(aiohttp_client: Any, reasons: list[str], status: int) -> None:
    app = web.Application()
    app.router.add_get("/healthz", alive())
    app.router.add_get("/readyz", ready(lambda: reasons))
    client = await aiohttp_client(app)
    async with client.get("/readyz") as response:
        assert response.status == status
        assert await response.json() == {"ready": not reasons, "reasons": reasons}
        assert response.headers["Cache-Control"] == "no-store"
    async with client.get("/healthz") as response:
        assert (response.status, await response.json()) == (200, {"alive": True})


async def test_metrics_are_in_the_text_format(aiohttp_client: Any) -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.connections.set(3)
    metrics.commands_denied.inc(2)
    app = web.Application()
    app.router.add_get("/metrics", exposition(metrics.registry))
    async with (await aiohttp_client(app)).get("/metrics") as response:
        assert response.content_type == "text/plain"
        text = await response.text()
    assert "roomful_connections 3.0\n" in text
    assert 'roomful_commands_total{outcome="denied"} 2.0\n' in text


def test_nodes_of_one_process_count_apart() -> None:
    one, other = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    one.deliveries.inc(5)
    assert one.registry.get_sample_value("roomful_deliveries_total") == 5
    assert other.registry.get_sample_value("roomful_deliveries_total") == 0


async def test_a_blocked_loop_shows() -> None:
    metrics = Metrics(CollectorRegistry())

    def sample(name: str) -> float:
        return metrics.registry.get_sample_value(f"roomful_loop_lag_seconds_{name}") or 0

    task = asyncio.create_task(measure_loop_lag(metrics.loop_lag_seconds, every_s=0.005))
    await until(lambda: sample("count") >= 1, "a first measure")
    time.sleep(0.1)  # noqa: ASYNC251  the fault that is to be seen
    await until(lambda: sample("sum") >= 0.05, "the lag of a blocked loop")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
