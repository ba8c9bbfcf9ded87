"""A cluster of our own on this machine: a broker, and nodes behind proxies that do them harm."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from roomful.check.proxy import FaultProxy
from roomful.check.serving import Serving
from roomful.embedded import EmbeddedServer
from roomful.failure import Failure

DRAIN_WINDOW_S: Final = 1.0
HEARTBEAT_S: Final = 2.0
"""Clients notice a frozen node after two of these."""


@dataclass(frozen=True, slots=True)
class Shape:
    """So many nodes; a silent one is believed in for `lease_s`, a vanished client for `grace_s`."""

    nodes: int
    lease_s: float
    grace_s: float


class Cluster:
    """`async with Cluster(shape, folder)`: all nodes are ready. Leaving it ends every process.

    `urls` are where clients may go; it changes as nodes come and go for good.
    """

    def __init__(self, shape: Shape, folder: Path) -> None:
        self.shape = shape
        self.nodes: list[Serving] = []
        self.urls: list[str] = []
        self.broker = EmbeddedServer(folder / "broker")
        self._folder = folder / "nodes"
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as opening:
            await opening.enter_async_context(self.broker)
            self._open = opening.pop_all()
        try:
            nodes = [await self.add() for _ in range(self.shape.nodes)]
            ready = await asyncio.gather(*(node.ready() for node in nodes))
        except BaseException:
            await self._open.aclose()
            raise
        if not all(ready):
            await self._open.aclose()
            raise Failure(f"The nodes did not start: their logs are in {self._folder}.")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    async def add(self) -> Serving:
        """One node more, in a place of its own; see `Serving.ready`."""
        broker = urlsplit(self.broker.url)
        proxy = FaultProxy(broker.hostname or "", broker.port or 0)
        await self._open.enter_async_context(proxy)
        port = self._open.enter_context(_reserved_port())
        node = Serving(len(self.nodes) + 1, port, self._folder, proxy)
        self._open.push_async_callback(node.close)
        self.nodes.append(node)
        await self.start(node)
        self.urls.append(node.url)
        return node

    async def start(self, node: Serving) -> None:
        """Start a process in the node's place."""
        await node.start(
            "--nats", f"nats://127.0.0.1:{node.proxy.port}", "--nats-token", self.broker.token,
            "--app", "roomful.check.rooms:CheckRoom", "--anonymous", "--log-level", "info",
            "--lease-s", str(self.shape.lease_s), "--grace-s", str(self.shape.grace_s),
            "--heartbeat-s", str(HEARTBEAT_S), "--drain-window-s", str(DRAIN_WINDOW_S),
        )  # fmt: skip

    async def remove(self, node: Serving) -> None:
        """Drain it for good."""
        self.urls.remove(node.url)
        await node.drain()

    async def ready(self) -> list[Serving]:
        """Wait until all that run take clients; those that do not in time."""
        running = [node for node in self.nodes if node.wanted]
        ready = await asyncio.gather(*(node.ready() for node in running))
        return [node for node, is_ready in zip(running, ready, strict=True) if not is_ready]

    def signal_broker(self, number: signal.Signals) -> None:
        """A killed broker is started again by its keeper."""
        os.kill(self.broker.pid, number)


@contextmanager
def _reserved_port() -> Iterator[int]:
    """A port that is a node's for as long as this is entered, also while no process listens there:
    no connection of anybody else is given its number."""
    with socket.socket() as held:
        # As nodes do when they listen: so both may be bound, one of them listening.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])
