"""What is done to a cluster of our own: a plan that a seed decides, and the doing of it."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from roomful.check.cluster import Cluster
from roomful.check.history import Trouble
from roomful.check.serving import Serving
from roomful_rooms.tasks import Tasks

CALM_S: Final = (1.0, 5.0)
"""Between the end of one trouble and the beginning of the next."""
AT_ONCE: Final = 0.25
"""So often a trouble begins before the last one is over."""

NOTICED_S: Final = 1.0
"""In so long the nodes have noticed that their broker is gone."""

ONE: Final = ("kill", "pause", "stall", "drain", "cut", "deaf", "mute", "slow", "reset")
"""What may befall one node."""
ALL: Final = ("broker", "hang", "grow")
FAULTS: Final = (*ONE, *ALL)
HARMLESS: Final = frozenset({"drain", "grow"})
"""What an operator does on purpose: nobody may be told to have left because of it."""


@dataclass(frozen=True, slots=True)
class Step:
    """A trouble to be made: `place` counts the nodes that have none, `lasts` is a share of what the
    kind may last, `calm_s` what passes before it."""

    kind: str
    place: float
    lasts: float
    calm_s: float
    at_once: bool


def steps(seed: int, kinds: frozenset[str]) -> Iterator[Step]:
    """Troubles without end, each kind as often as the others."""
    chance = Random(f"{seed} faults")  # noqa: S311
    while kinds:
        order = [kind for kind in FAULTS if kind in kinds]
        chance.shuffle(order)
        for kind in order:
            calm_s = chance.uniform(*CALM_S)
            yield Step(kind, chance.random(), chance.random(), calm_s, chance.random() < AT_ONCE)


class Faults:
    """Makes troubles in `cluster`; `troubles` are those that are over, `under_way` the others.

    `complaints` are promises of the cluster that no history shows: a node that did not recover.
    """

    def __init__(
        self,
        cluster: Cluster,
        seed: int,
        kinds: frozenset[str],
        tasks: Tasks,
        now: Callable[[], float],
        tell: Callable[[str], None],
    ) -> None:
        self.troubles: list[Trouble] = []
        self.complaints: list[str] = []
        self.under_way: dict[str, Serving | None] = {}
        self._cluster, self._seed, self._kinds = cluster, seed, kinds
        self._tasks, self._now, self._tell = tasks, now, tell
        self._making: set[asyncio.Task[None]] = set()

    async def run(self, seconds: float) -> None:
        """Make troubles for so long; return when the last one is over."""
        deadline = self._now() + seconds
        for step in steps(self._seed, self._kinds):
            if self._making and not step.at_once:
                await asyncio.wait(self._making)
            await asyncio.sleep(min(step.calm_s, max(0.0, deadline - self._now())))
            if self._now() >= deadline:
                break
            await self._begin(step)
        if self._making:
            await asyncio.wait(self._making)
        await asyncio.sleep(max(0.0, deadline - self._now()))

    async def _begin(self, step: Step) -> None:
        """One trouble at a time concerns all; and one node at least is left alone."""
        while self._making and (step.kind in ALL or not self._free or len(self._free) < 2):
            await asyncio.wait(self._making, return_when=asyncio.FIRST_COMPLETED)
        while any(node is None for node in self.under_way.values()):
            await asyncio.wait(self._making, return_when=asyncio.FIRST_COMPLETED)
        node = None if step.kind in ALL else self._free[int(step.place * len(self._free))]
        name = f"{step.kind} {node.id}" if node is not None else step.kind
        self.under_way[name] = node
        self._tell(f"{self._now():7.1f} s  {name}")
        making = self._tasks.start(self._make(name, step, node), f"fault {name}")
        self._making.add(making)
        making.add_done_callback(self._making.discard)

    @property
    def _free(self) -> list[Serving]:
        troubled = list(self.under_way.values())
        return [node for node in self._cluster.nodes if node.wanted and node not in troubled]

    async def _make(self, name: str, step: Step, node: Serving | None) -> None:
        since, id = self._now(), None if node is None else node.id
        try:
            if node is not None:
                await _DEEDS[step.kind](self._cluster, node, step.lasts)
                await self._recovered([node] if not await node.ready() else [], name)
            else:
                await self._befall_all(step)
                await self._recovered(await self._cluster.ready(), name)
        finally:
            del self.under_way[name]
            harms = step.kind not in HARMLESS
            self.troubles.append(Trouble(step.kind, id, since, self._now(), harms))
            lasted = self._now() - since
            self._tell(f"{self._now():7.1f} s  {name} is over, after {lasted:.1f} s")

    async def _recovered(self, sick: list[Serving], after: str) -> None:
        for node in sick:
            self.complaints.append(f"{node.id} was not ready again in time after {after}.")

    async def _befall_all(self, step: Step) -> None:
        match step.kind:
            case "broker":
                self._cluster.signal_broker(signal.SIGKILL)
                await asyncio.sleep(NOTICED_S)
            case "hang":
                self._cluster.signal_broker(signal.SIGSTOP)
                await asyncio.sleep(0.5 + 4 * step.lasts)
                self._cluster.signal_broker(signal.SIGCONT)
            case "grow":
                node = await self._cluster.add()
                await self._recovered([node] if not await node.ready() else [], "start")
                await asyncio.sleep(2 + 6 * step.lasts)
                await self._cluster.remove(node)
            case kind:
                raise ValueError(kind)


async def _kill(cluster: Cluster, node: Serving, lasts: float) -> None:
    await node.kill()
    await asyncio.sleep(4 * lasts)
    await cluster.start(node)


async def _pause(cluster: Cluster, node: Serving, lasts: float) -> None:
    """Long enough for others to take it for dead."""
    await _frozen(node, cluster.shape.lease_s + 1 + 3 * lasts)


async def _stall(cluster: Cluster, node: Serving, lasts: float) -> None:
    """Too short for that."""
    await _frozen(node, cluster.shape.lease_s * 0.6 * lasts)


async def _frozen(node: Serving, seconds: float) -> None:
    node.signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    node.signal(signal.SIGCONT)


async def _drain(cluster: Cluster, node: Serving, lasts: float) -> None:
    await node.drain()
    await asyncio.sleep(lasts)
    await cluster.start(node)


async def _cut(cluster: Cluster, node: Serving, lasts: float) -> None:
    node.proxy.cut()
    await _healed(cluster, node, lasts)


async def _deaf(cluster: Cluster, node: Serving, lasts: float) -> None:
    """It can be heard, and hears nothing."""
    node.proxy.hold("down")
    await _healed(cluster, node, lasts)


async def _mute(cluster: Cluster, node: Serving, lasts: float) -> None:
    """It hears, and cannot be heard."""
    node.proxy.hold("up")
    await _healed(cluster, node, lasts)


async def _slow(cluster: Cluster, node: Serving, lasts: float) -> None:
    node.proxy.delay(0.02 + 0.3 * lasts)
    await _healed(cluster, node, lasts)


async def _healed(cluster: Cluster, node: Serving, lasts: float) -> None:
    """Shortly or for longer than its lease."""
    await asyncio.sleep(0.5 + (cluster.shape.lease_s + 3) * lasts)
    node.proxy.heal()


async def _reset(cluster: Cluster, node: Serving, lasts: float) -> None:
    node.proxy.reset()


_DEEDS: Final[dict[str, Callable[[Cluster, Serving, float], Awaitable[None]]]] = {
    "kill": _kill, "pause": _pause, "stall": _stall, "drain": _drain, "cut": _cut, "deaf": _deaf,
    "mute": _mute, "slow": _slow, "reset": _reset,
}  # fmt: skip
