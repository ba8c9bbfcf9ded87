"""A whole cluster in memory: brokers, nodes with a loop and a network each, and their clients."""

import asyncio
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any, Final

from tests.simulation.guests import Guests
from tests.simulation.network import CONNECTIONS, Connection, LaggingLog
from tests.simulation.sockets import Socket
from tests.simulation.timeline import Loop, Timeline

from roomful.check.crowd import FAULTS, Scale
from roomful.check.evidence import Bounds
from roomful.check.history import Trouble
from roomful.check.roomlog import RoomLog
from roomful.check.rooms import CheckRoom
from roomful.check.verdict import Verdict, judge
from roomful.check.visitor import Where
from roomful_nodes.memory_bus import BusSwitch, MemoryBus
from roomful_nodes.node import Node
from roomful_nodes.seams import Seams, cluster_key
from roomful_nodes.settings import NodeSettings
from roomful_protocol.codecs.stored import unpack_block
from roomful_protocol.ids import RoomName
from roomful_protocol.subjects import Subjects
from roomful_rooms.clock import Clock
from roomful_rooms.directory import Conflict, Unavailable
from roomful_rooms.kinds import Kinds
from roomful_rooms.log import Record
from roomful_rooms.memory_directory import DirectoryStore, MemoryDirectory
from roomful_rooms.memory_log import LogStore, MemoryArchive
from roomful_rooms.tasks import Tasks

EPOCH_MS: Final = 1_800_000_000_000
DRIFT: Final = 0.04
"""So much faster or slower a node's clock may run than the broker's."""
SKEW_MS: Final = 3000
EXPIRY_LATE_S: Final = 1.0
KEPT: Final = 512
AGAIN_S: Final = 0.1
SETTINGS: Final = NodeSettings(port=0, lease_s=2, grace_s=8, heartbeat_s=3, request_timeout_s=8)
GONE_S: Final = SETTINGS.grace_s + SETTINGS.lease_s + 4
"""So long after it has gone, everybody has left."""
KINDS: Final = [("check-*", CheckRoom)]
ROOMS: Final = ("check-1", "check-2", "lobby", "den")


class Store(LogStore):
    """A broker's log, and beside it all that was ever written, for the verdict."""

    def __init__(self) -> None:
        super().__init__(KEPT)
        self.written: dict[RoomName, list[Record]] = {}

    def append(self, room: RoomName, data: bytes, after: int) -> int:
        position = super().append(room, data, after)
        written = self.written.setdefault(room, [])
        if not written or written[-1].position < position:
            written.append(Record(room, position, data))
        return position


class Machine:
    """Where one node runs: its loop, its connections, its clients' sockets."""

    def __init__(self, world: "World", name: str) -> None:
        self.name = name
        self.node: Node | None = None
        self.sockets: set[Socket] = set()
        self._world, self._ids = world, count()
        self._die = die = Random(f"{world.seed} machine {name} {world.timeline.now}")  # noqa: S311
        timeline, rate = world.timeline, die.uniform(1 - DRIFT, 1 + DRIFT)
        self.loop = Loop(timeline, name, rate)  # type: ignore[abstract]
        self._leases, self._appends, self._events, self._archive = self.links = [
            Connection(timeline, self.loop, die) for _ in CONNECTIONS
        ]
        skew_ms = EPOCH_MS + die.randint(-SKEW_MS, SKEW_MS)
        self._clock = Clock(self.loop.time, lambda: skew_ms + int(timeline.now * 1000))
        self._tasks = [self.loop.create_task(self._run(), name=f"{name}: main")]

    def _seams(self) -> Seams:
        world = self._world
        return Seams(
            log=LaggingLog(world.log, self._appends, self._events, die=self._die),
            archive=MemoryArchive(world.log, self._archive),
            directory=MemoryDirectory(world.directory, self._leases),
            bus=MemoryBus(world.switch, self._events),
            subjects=Subjects(),
            clock=self._clock,
            new_id=lambda: f"{next(self._ids):06x}{self._die.getrandbits(56):014x}",
            sound=self._sound,
        )

    async def _sound(self) -> None:
        for link in self.links:
            await link.ask(lambda: None)

    async def _run(self) -> None:
        """As `serve` does: again, if the broker does not answer at the start."""
        while self.node is None:
            node, seams = None, self._seams()
            try:
                settings, kinds = replace(SETTINGS, node_id=self.name), Kinds(KINDS)
                node = Node(settings, kinds, seams, await cluster_key(seams))
                await node.start()
            except (Unavailable, Conflict):
                if node is not None:
                    await node.stop()
                # With the connection cut it says so at once, and time would not pass.
                await asyncio.sleep(AGAIN_S)
            else:
                node.gateway.watch_hearts()
                self.node = node

    def drain(self, window_s: float) -> None:
        """SIGTERM: the node leaves in good order, and the process ends."""
        leaving = self._leave(window_s)
        self._tasks.append(self.loop.create_task(leaving, name=f"{self.name}: drain"))

    async def _leave(self, window_s: float) -> None:
        if self.node is not None:
            await self.node.drain(window_s)
            await self.node.stop()
        self._world.timeline.later(0, self.crash)

    def crash(self) -> None:
        """kill -9: nothing of it acts any more; what has left it arrives all the same."""
        if self.loop.stopped:
            return
        for link in self.links:
            link.die()
        for socket in sorted(self.sockets, key=lambda socket: socket.number):
            socket.vanish()
        self.sockets.clear()
        self.loop.end()


class World:
    """Everything that one seed makes of it."""

    def __init__(self, seed: int, nodes: int = 3, clients: int = 6) -> None:
        self.seed = seed
        self.timeline = timeline = Timeline(seed)
        self.die = die = Random(f"{seed} world")  # noqa: S311
        self.log, self.switch = Store(), BusSwitch()
        self.directory = DirectoryStore(
            Clock(lambda: timeline.now, lambda: 0),
            lambda s, do: timeline.later(s + die.uniform(0, EXPIRY_LATE_S), do),
        )
        self.machines: list[Machine] = []
        self.names: list[str] = []
        self.troubles: list[Trouble] = []
        self._numbers, self._sockets = count(1), count(1)
        for _ in range(nodes):
            self.start()
        self.people = Loop(timeline, "people")  # type: ignore[abstract]
        self.tasks = Tasks("people")
        self.guests = Guests(
            self._connect, seed, Scale(clients, len(ROOMS), clients * 1.5, SETTINGS.grace_s),
            Where(self.names), ROOMS, frozenset(FAULTS), self.tasks, lambda: timeline.now,
        )  # fmt: skip
        self.people.call_soon(self.guests.gather)

    def start(self, name: str | None = None) -> Machine:
        machine = Machine(self, name or f"n{next(self._numbers)}")
        self.machines.append(machine)
        self.names[:] = [one.name for one in self.running]
        return machine

    @property
    def running(self) -> list[Machine]:
        return [machine for machine in self.machines if not machine.loop.stopped]

    def machine(self, name: str) -> Machine:
        """The newest of that name."""
        return next(one for one in reversed(self.machines) if one.name == name)

    def _connect(self, name: str, chance: Random, heard: Any, ended: Any) -> Socket:
        return Socket(
            self.timeline, chance, self.people, self.machine(name), next(self._sockets),
            heard=heard, ended=ended,
        )  # fmt: skip

    # -- the end -----------------------------------------------------------------------------------

    def settle(self, seconds: float) -> None:
        """Everybody falls silent, and all that is under way comes to its end, or does not within
        `seconds`; then so much time passes that whoever is gone has left."""
        self._silencing = self.people.create_task(self.guests.fall_silent(), name="silence")
        self._calm(seconds)
        self.timeline.run(GONE_S)
        self._calm(seconds)

    def _calm(self, seconds: float) -> None:
        end = self.timeline.now + seconds
        while not self._quiet() and self.timeline.now < end:
            self.timeline.run(0.25)

    def _quiet(self) -> bool:
        if not self._silencing.done():
            return False
        heads = {room: self._head(room) for room in self.log.written}
        return all(
            visitor.settled
            and all(
                place.position == heads.get(room) for room, place in visitor.state.places.items()
            )
            for visitor in self.guests.present
        )

    def _head(self, room: RoomName) -> int:
        return unpack_block(self.log.written[room][-1].data).last

    def logs(self) -> list[RoomLog]:
        return [
            RoomLog.of(room, [unpack_block(one.data) for one in self.log.written.get(room, ())])
            for room in ROOMS
        ]

    def verdict(self) -> Verdict:
        bounds = Bounds(
            grace_s=SETTINGS.grace_s, margin_s=SETTINGS.lease_s + 3, gone_s=GONE_S,
            ended_at=self.timeline.now,
        )  # fmt: skip
        histories = [visitor.history for visitor in self.guests.visitors]
        return judge(histories, self.logs(), bounds, self.troubles)

    @property
    def loops(self) -> list[Loop]:
        return [*(machine.loop for machine in self.machines), self.people]

    def close(self) -> None:
        for machine in self.machines:
            machine.crash()
        self.people.end()
