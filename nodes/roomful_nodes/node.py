"""One node: all its parts put together in one place, started and stopped in order.

What brings clients to it is put on top: `site` over HTTP, simulations without a network.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from roomful_nodes.cluster import Cluster
from roomful_nodes.drain import Drain
from roomful_nodes.gateway import Gateway
from roomful_nodes.hub import Hub
from roomful_nodes.metrics import Metrics
from roomful_nodes.operator import Operator
from roomful_nodes.probe import Probe
from roomful_nodes.router import Router
from roomful_nodes.seams import Seams
from roomful_nodes.settings import NodeSettings
from roomful_nodes.shouts import Shouts
from roomful_nodes.view import NodeInfo, life_from
from roomful_protocol.blocks import Block
from roomful_protocol.ids import RoomName
from roomful_protocol.messages import Live
from roomful_rooms.actor import Limits
from roomful_rooms.directory import Conflict, Unavailable
from roomful_rooms.host import RoomHost
from roomful_rooms.kinds import Kinds
from roomful_rooms.presence import Life
from roomful_rooms.tasks import Tasks

STEP_S: Final = 10.0
"""What each step of going down may take; then the next one follows all the same."""
BUS_S: Final = 0.2

log = structlog.get_logger()


class Node:
    """A node of the cluster: its rooms, its sessions, its place among the others.

    `listening`: the host and port where clients reach it.
    """

    def __init__(self, settings: NodeSettings, kinds: Kinds, seams: Seams, key: bytes) -> None:
        self.id = settings.node_id or seams.new_id()[:8]
        self.settings = settings
        self.listening = (settings.host, settings.port)
        self._seams = seams
        self.tasks = tasks = Tasks(self.id)
        self.metrics = metrics = Metrics(CollectorRegistry())
        clock, subjects, loop = seams.clock, seams.subjects, asyncio.get_running_loop()
        started_ms = clock.wall_ms()
        self._host = self._room_host(kinds)
        self._cluster = Cluster(
            NodeInfo(self.id, settings.address, version("roomful"), started_ms),
            seams.directory, self._host, clock=clock, tasks=tasks,
            lease_s=max(1, round(settings.lease_s)), counted=self._counted,
            sound=seams.sound, changed=self._changed, returned=self._returned,
            ordered=self._ordered,
        )  # fmt: skip
        self._router = Router(
            self.id, self._host, seams.bus, subjects, owner=self._cluster.owner, clock=clock,
            metrics=metrics, deadline_s=settings.request_timeout_s,
        )  # fmt: skip
        self._hub = Hub(
            self.id, log=seams.log, archive=seams.archive, bus=seams.bus, subjects=subjects,
            asks=self._router, loop=loop, tasks=tasks, metrics=metrics,
        )  # fmt: skip
        self._shouts = Shouts(seams.bus, subjects, self._hub, self._others)
        self.gateway = Gateway(
            self.id, life_from(started_ms), settings, key, asks=self._router, hub=self._hub,
            bus=seams.bus, subjects=subjects, clock=clock, new_id=seams.new_id, loop=loop,
            tasks=tasks, metrics=metrics, others=self._others,
            pace=self._cluster.pace, durability=seams.durability,
        )  # fmt: skip
        self._drain = Drain(self._cluster, self.gateway.departure, clock=clock, tasks=tasks)
        self._probe = Probe(
            self.id, seams.bus, subjects, clock=clock, nodes=lambda: self._cluster.nodes,
            bury=self._cluster.bury, probe_s=settings.probe_s,
        )  # fmt: skip
        self.operator = Operator(
            self._cluster, self._probe, self._drain, self._router, seams.log, self._hub.history,
            seams.new_id,
        )  # fmt: skip

    def _room_host(self, kinds: Kinds) -> RoomHost:
        seams, settings = self._seams, self.settings
        return RoomHost(
            self.id, kinds=kinds, log=seams.log, archive=seams.archive, clock=seams.clock,
            new_id=seams.new_id, tasks=self.tasks, live=self._live, wrote=self._wrote,
            left=self._left, doubt=self._doubt, beacon=self._beacon,
            limits=Limits(settings.mailbox, settings.handler_timeout_s),
            idle_s=settings.idle_s, grace_s=settings.grace_s,
            # Nobody asks for so long about what a room has decided.
            forget_s=3 * settings.request_timeout_s, incarnation=seams.incarnation,
        )  # fmt: skip

    @property
    def replaced(self) -> asyncio.Event:
        """Set when another process has taken this node's name: then this one must be stopped."""
        return self._cluster.replaced

    @property
    def leaving(self) -> asyncio.Event:
        """Set when this node begins to give its rooms and clients away."""
        return self._drain.leaving

    async def start(self) -> None:
        """Join the cluster, and take rooms and sessions.

        Raises Unavailable if the broker does not answer, Conflict if a node of this name lives.
        """
        # Listening comes before joining: who sees this node in the directory may send at once.
        await self._router.start()
        await self.gateway.start()
        await self._cluster.start()
        self.tasks.start(self._host.tend(self._living, self._cluster.missed_s), "tend")
        self.tasks.start(self._probe.run(), "probe")
        self.tasks.start(self._watch_bus(), "bus")

    async def drain(self, window_s: float) -> None:
        """Hand the rooms to other nodes, then ask the clients to leave, over `window_s` seconds; if
        that has begun already, see it through. The node stays, drained, until it is stopped."""
        await asyncio.shield(self._drain.begin(window_s))

    async def stop(self, hang_up: Callable[[], Awaitable[None]] | None = None) -> None:
        """Leave in good order, whatever goes wrong in it. `hang_up` closes what sockets there are,
        once their clients have been told."""
        await _step("gateway", self.gateway.close())
        if hang_up is not None:
            await _step("http", hang_up())
        if self.replaced.is_set():
            # The rooms are another's: not even a snapshot may be written.
            self._host.assign({})
        await _step("rooms", self._host.close())
        await _step("hub", self._hub.close())
        await _step("router", self._router.close())
        await _step("cluster", self._cluster.stop())
        await self.tasks.close()
        log.info("node.stopped", node=self.id)

    # -- what the parts tell each other ------------------------------------------------------------

    def _live(self, room: RoomName, live: Live) -> None:
        self._shouts.say(room, live)

    def _beacon(self, room: RoomName, head: int, elsewhere: bool) -> None:
        self._shouts.tell_head(room, head, elsewhere)

    def _others(self) -> int:
        return len(self._cluster.nodes) - 1

    def _living(self) -> list[Life]:
        return [node.life for node in self._cluster.nodes.values()]

    def _returned(self) -> None:
        """This node was taken for dead: its clients may be no members any more, and its feeds may
        have missed something."""
        self.tasks.start(self.gateway.reaffirm(), "reaffirm")
        self._hub.check()

    async def _watch_bus(self) -> None:
        """Count the losses of the broker; after each, feeds may have missed what was announced."""
        bus = self._seams.bus
        counted = checked = bus.losses
        while True:
            await asyncio.sleep(BUS_S)
            losses = bus.losses
            self.metrics.nats_disconnects.inc(losses - counted)
            counted = losses
            if bus.connected and checked != losses:
                checked = losses
                self._hub.check()

    def _wrote(self, room: RoomName, block: Block, seconds: float) -> None:
        self._hub.hear_own(room, block)
        metrics = self.metrics
        metrics.blocks.count += 1
        metrics.entries.count += len(block.entries)
        metrics.append_seconds.observe(seconds)

    def _left(self, room: RoomName) -> None:
        self._hub.heed(room)

    def _doubt(self, doubting: bool) -> None:
        self._hub.doubt(doubting)

    def _counted(self, info: NodeInfo) -> NodeInfo:
        self._gauge()
        return replace(
            info, rooms=self._host.rooms, sessions=len(self.gateway.sessions),
            connections=len(self.gateway),
        )  # fmt: skip

    def _changed(self) -> None:
        self._gauge()
        self._router.look()
        self._drain.look()

    def _ordered(self, window_s: float | None) -> None:
        self._drain.begin(self.settings.drain_window_s if window_s is None else window_s)

    def _gauge(self) -> None:
        self.metrics.rooms.set(self._host.rooms)
        self.metrics.partitions.set(self._host.partitions)


async def _step(name: str, step: Awaitable[object]) -> None:
    """One step of going down: what goes wrong in it does not keep the next from happening."""
    try:
        async with asyncio.timeout(STEP_S):
            await step
    except Exception as problem:
        # A bug of ours, or of a library, is no reason to leave rooms without a snapshot.
        bug = None if isinstance(problem, TimeoutError | Conflict | Unavailable) else problem
        reason = str(problem) or "timeout"
        log.warning("node.step_failed", step=name, reason=reason, exc_info=bug)
