"""Alive, ready, and how late the loop is: what those who run a node ask it all the time."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from roomful_protocol.codecs.json import dumps

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def alive() -> Handler:
    """Answers as long as the process does; says nothing about the broker or the cluster."""

    async def healthz(_: web.Request) -> web.Response:
        return json_response({"alive": True})

    return healthz


def ready(readiness: Callable[[], list[str]]) -> Handler:
    """200 when clients should be sent here; else 503 with the reasons why not."""

    async def readyz(_: web.Request) -> web.Response:
        reasons = readiness()
        return json_response(
            {"ready": not reasons, "reasons": reasons}, status=503 if reasons else 200
        )

    return readyz


def exposition(registry: CollectorRegistry) -> Handler:
    """The metrics in Prometheus' text format."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    return metrics


def json_response(value: object, status: int = 200) -> web.Response:
    """`value` as JSON that nobody keeps and no browser takes for something else."""
    return raw_json_response(dumps(value), status)


def raw_json_response(body: bytes, status: int = 200) -> web.Response:
    """JSON that is encoded already."""
    return web.Response(
        body=body,
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
    )


async def measure_loop_lag(lag: Histogram, every_s: float = 0.5) -> None:
    """Observe, until cancelled, how late timers of this loop run: blocked loops show here."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + every_s
        await asyncio.sleep(every_s)
        lag.observe(max(0.0, loop.time() - due))
