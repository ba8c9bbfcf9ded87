"""A node and all that it serves over HTTP: sockets, pages, the operators' side."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import structlog
from aiohttp import web

from roomful_nodes.doorstep import REQUEST_S, Doorstep
from roomful_nodes.entrance import Entrance
from roomful_nodes.health import exposition, measure_loop_lag
from roomful_nodes.http_api import add_routes
from roomful_nodes.node import Node
from roomful_nodes.seams import Seams, cluster_key
from roomful_nodes.settings import NodeSettings
from roomful_nodes.siblings import Siblings
from roomful_nodes.watchdog import Watchdog
from roomful_rooms.kinds import Kinds

BACKLOG: Final = 4096
HANDLERS_S: Final = 2.0
"""Requests under way when the node stops may take so long: aiohttp waits for up to twice that, and
sockets for CLOSE_S more, which together is less than a step of going down may take."""

log = structlog.get_logger()


@asynccontextmanager
async def serving(settings: NodeSettings, kinds: Kinds, seams: Seams) -> AsyncIterator[Node]:
    """Start a node that clients can reach, and stop it in good order when done.

    Raises Unavailable if the broker does not answer, Conflict if a node of this name lives, OSError
    if the port cannot be had.
    """
    node = Node(settings, kinds, seams, await cluster_key(seams))
    siblings = None if settings.siblings is None else Siblings(settings.siblings, node.id)
    metrics = (siblings.exposition if siblings else exposition)(node.metrics.registry)
    entrance = Entrance(node.gateway, settings, node.metrics)
    pages = web.Application()
    entrance.add_routes(pages.router)
    add_routes(pages.router, node.operator, settings, metrics)
    runner = web.AppRunner(
        pages, access_log=None, handle_signals=False, keepalive_timeout=REQUEST_S,
        shutdown_timeout=HANDLERS_S,
    )  # fmt: skip
    doorstep = Doorstep(entrance.take, partial(_behind, runner), node.metrics, REQUEST_S)
    try:
        await node.start()
        node.gateway.watch_hearts()
        node.tasks.start(measure_loop_lag(node.metrics.loop_lag_seconds), "loop lag")
        node.tasks.start(Watchdog(node.metrics.loop_stalls.inc).run(), "watchdog")
        await runner.setup()
        door = _Door(runner, doorstep, settings)
        await door.start()
        node.listening = runner.addresses[0][:2]
        if siblings is not None:
            await web.UnixSite(runner, siblings.socket).start()
            node.tasks.start(_shut(door, node.leaving), "door")
        log.info("node.started", node=node.id, host=settings.host, port=settings.port)
        yield node
    finally:
        await node.stop(partial(_hang_up, runner, doorstep, entrance))
        if siblings is not None:
            siblings.leave()


def _behind(runner: web.AppRunner) -> asyncio.Protocol:
    """aiohttp's protocol for a connection that comes through the doorstep."""
    if runner.server is None:
        raise RuntimeError("The runner is not set up.")
    return runner.server()


async def _hang_up(runner: web.AppRunner, doorstep: Doorstep, entrance: Entrance) -> None:
    """Let nobody in, and close what is open."""
    await runner.cleanup()
    doorstep.close()
    await entrance.close()


async def _shut(door: web.BaseSite, leaving: asyncio.Event) -> None:
    """Whoever comes to a shared port while this node leaves is for those who stay."""
    await leaving.wait()
    await door.stop()


class _Door(web.BaseSite):
    """A site whose connections come over the doorstep."""

    def __init__(self, runner: web.AppRunner, doorstep: Doorstep, settings: NodeSettings) -> None:
        super().__init__(runner, backlog=BACKLOG)
        self._doorstep, self._settings = doorstep, settings

    @property
    def name(self) -> str:
        return f"http://{self._settings.address}"

    async def start(self) -> None:
        await super().start()
        self._server = await asyncio.get_running_loop().create_server(
            self._doorstep,
            self._settings.host,
            self._settings.port,
            backlog=self._backlog,
            reuse_port=self._settings.siblings is not None,
        )
