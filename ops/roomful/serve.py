"""`roomful serve`: a node and, where none is given, its own broker; from start to last goodbye."""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog

from roomful.collector import Collector
from roomful.config import Config
from roomful.embedded import EmbeddedError, EmbeddedServer
from roomful.ending import End
from roomful.failure import Failure
from roomful.names import names
from roomful_nodes.nats_broker import Broker, seams_on
from roomful_nodes.nats_connection import BrokerError
from roomful_nodes.node import Node
from roomful_nodes.seams import Seams
from roomful_nodes.settings import NodeSettings
from roomful_nodes.site import serving
from roomful_rooms.clock import Clock
from roomful_rooms.directory import Conflict, Unavailable
from roomful_rooms.kinds import Kinds

PATIENCE_S: Final = 20.0
"""How long a broker that is there may fail to answer at the start."""
PAUSE_S: Final = 0.5

log = structlog.get_logger()


async def serve(
    config: Config,
    kinds: Kinds,
    started: Callable[[Node], None],
    siblings: Path | None = None,
) -> None:
    """Run a node until SIGTERM or SIGINT: then drain and stop. A second signal hurries.

    `started` is called when the node takes clients. `siblings`: where nodes meet that share the
    port. Raises Failure for what an operator can mend.
    """
    end = End()
    async with AsyncExitStack() as running:
        try:
            seams = await running.enter_async_context(_seams(config, end.lose_broker))
            settings = replace(config.node, siblings=siblings)
            node = await running.enter_async_context(_patiently(settings, kinds, seams, end))
        except (BrokerError, EmbeddedError) as problem:
            raise Failure(str(problem)) from None
        except Unavailable:
            raise Failure("The broker does not answer: check that nats-server runs.") from None
        except Conflict as problem:
            raise Failure(str(problem)) from None
        except OSError as error:
            raise cannot_listen(config.node.address, error) from None
        _settle_memory(node)
        started(node)
        await _first_of(end.wanted, node.replaced)
        if not node.replaced.is_set():
            await _drain(node, config.drain_window_s, end.hurried)
    if node.replaced.is_set():
        raise Failure(
            f"Another process has become the node {node.id} while this one was not heard of:"
            " give each its own --node-id."
        )
    if end.broker_lost:
        raise Failure("The broker closed the connection for good: the log says why. Start again.")


@asynccontextmanager
async def _patiently(
    settings: NodeSettings, kinds: Kinds, seams: Seams, end: End
) -> AsyncIterator[Node]:
    """A node, once the broker answers: new streams of a cluster have no leader for a while."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    async with AsyncExitStack() as running:
        while True:
            try:
                node = await running.enter_async_context(serving(settings, kinds, seams))
                break
            except Unavailable:
                if loop.time() > deadline or end.wanted.is_set():
                    raise
            log.warning("node.waits_for_broker")
            await asyncio.sleep(PAUSE_S)
        yield node


def cannot_listen(address: str, error: OSError) -> Failure:
    """What to say when the port cannot be had."""
    return Failure(
        f"Cannot listen on {address} ({_reason(error)}): choose another --port or --host."
    )


def _reason(error: OSError) -> str:
    # The loop's own text repeats the address; names that cannot be resolved have no errno's text.
    if isinstance(error, socket.gaierror) or error.errno is None:
        return str(error.strerror or error)
    return os.strerror(error.errno)


@asynccontextmanager
async def _seams(config: Config, closed: Callable[[], None]) -> AsyncIterator[Seams]:
    clock = Clock(time.monotonic, lambda: time.time_ns() // 1_000_000)
    async with AsyncExitStack() as running:
        token = config.nats_token.get_secret_value() if config.nats_token else None
        creds = str(config.nats_creds) if config.nats_creds else None
        broker = Broker(config.nats, token, creds, config.nats_sync_s, config.nats_incarnation)
        if not config.nats:
            embedded = await running.enter_async_context(EmbeddedServer(config.data_dir))
            broker = embedded.broker
        yield await running.enter_async_context(
            seams_on(
                broker,
                prefix=config.prefix,
                replicas=config.replicas,
                clock=clock,
                new_id=names().__next__,
                closed=closed,
            )
        )


async def _first_of(*events: asyncio.Event) -> None:
    """Wait until one of them is set."""
    waiting = [asyncio.create_task(event.wait(), name="end") for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


async def _drain(node: Node, window_s: float, hurried: asyncio.Event) -> None:
    draining = asyncio.create_task(node.drain(window_s), name="drain")
    hurry = asyncio.create_task(hurried.wait(), name="hurry")
    done, _ = await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
    if draining not in done:
        log.warning("node.hurried")
    for task in (draining, hurry):
        task.cancel()
    await asyncio.wait({draining, hurry})
    if not draining.cancelled() and (raised := draining.exception()) is not None:
        log.error("node.drain_failed", exc_info=raised)


def _settle_memory(node: Node) -> None:
    collector = Collector(node.metrics.gc_pause_seconds.observe)
    collector.settle()
    node.tasks.start(collector.watch(), "collector")
