"""What goes wrong, when and for how long: drawn from the seed, and healed by itself.

A simulated pause is a loop that gets no turn: what other nodes and the brokers do goes on, messages
wait in the node's buffers, and its timers are late. A cut is a connection that both sides know to
be gone; a black hole swallows what is sent, in one direction, and nobody is told; a stall delivers
late, and all at once.
"""

from random import Random
from typing import Final

from tests.simulation.network import Connection
from tests.simulation.world import Machine, World

from roomful.check.history import Trouble

EVERY_S: Final = 2.0
"""On average, something happens so often."""
WEIGHTS: Final = {
    "crash": 3, "pause": 3, "cut": 2, "black hole": 3, "stall": 2, "losses": 2, "slow archive": 1,
    "drain": 1.5, "join": 0.5,
}  # fmt: skip
NODES: Final = (2, 4)
WINDOW_S: Final = 1.0


class Faults:
    """Strikes a world until `stop`; after that, everything is well again by `well_at`."""

    def __init__(self, world: World) -> None:
        self.well_at = 0.0
        self._world = world
        self._die = Random(f"{world.seed} faults")  # noqa: S311
        self._stopped = False
        self._next()

    def stop(self) -> None:
        self._stopped = True

    def _next(self) -> None:
        self._world.timeline.later(self._die.expovariate(1 / EVERY_S), self._strike)

    def _strike(self) -> None:
        if self._stopped:
            return
        self._next()
        if not self._world.running:
            return
        machine = self._die.choice(self._world.running)
        kind = self._die.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        match kind:
            case "crash":
                self._crash(machine)
            case "pause":
                seconds = self._lasting()
                machine.loop.pause(seconds, after=self._die.randint(0, 30))
                self._trouble("pause", machine, seconds)
            case "drain":
                if len(self._world.running) > NODES[0]:
                    machine.drain(WINDOW_S)
                    self._trouble("drain", machine, 15)
                    self._replace(self._lasting())
            case "join":
                if len(self._world.running) < NODES[1]:
                    self._world.start()
            case _:
                self._disturb(kind, machine)

    def _lasting(self) -> float:
        """Mostly short, sometimes beyond every lease and grace."""
        return self._die.choice((0.1, 0.5, 2, 4, 12)) * self._die.uniform(0.5, 1.2)

    def _trouble(self, kind: str, machine: Machine, seconds: float) -> None:
        now = self._world.timeline.now
        self.well_at = max(self.well_at, now + seconds)
        self._world.troubles.append(Trouble(kind, machine.name, now, now + seconds))

    def _crash(self, machine: Machine) -> None:
        machine.loop.interrupt(machine.crash, after=self._die.randint(0, 30))
        again_s = self._lasting() / 2
        self._trouble("crash", machine, again_s)
        # Sometimes under the same name, at once, while its lease has not expired.
        self._replace(again_s, machine.name if self._die.random() < 0.3 else None)

    def _replace(self, seconds: float, name: str | None = None) -> None:
        self.well_at = max(self.well_at, self._world.timeline.now + seconds)
        self._world.timeline.later(seconds, lambda: self._start(name))

    def _start(self, name: str | None) -> None:
        if name is None or self._world.machine(name).loop.stopped:
            self._world.start(name)

    def _disturb(self, kind: str, machine: Machine) -> None:
        """Something about some or all of a node's connections."""
        seconds = self._lasting()
        all_of_them = self._die.random() < 0.5
        links = machine.links if all_of_them else [self._die.choice(machine.links)]
        directions = self._die.choice((("out", "back"), ("out",), ("back",)))
        for link in links:
            self._change(kind, link, directions, seconds)
            self._world.timeline.later(seconds, lambda link=link: _heal(link))  # type: ignore[misc]
        self._trouble(kind, machine, seconds)

    def _change(
        self, kind: str, link: Connection, directions: tuple[str, ...], seconds: float
    ) -> None:
        if kind == "cut":
            link.cut()
            return
        for direction in directions:
            way = link.out if direction == "out" else link.back
            if kind == "black hole":
                way.loss = 1
            elif kind == "losses":
                way.loss = self._die.uniform(0.02, 0.3)
            elif kind == "stall":
                way.held_until = self._world.timeline.now + seconds
            else:
                way.extra_s = self._die.uniform(0.05, 1)


def _heal(link: Connection) -> None:
    for way in (link.out, link.back):
        way.loss = way.extra_s = 0
    link.mend()
