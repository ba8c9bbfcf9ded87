"""Who talks while faults happen: seeded, well-behaved, in several rooms, and sometimes away."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from roomful.check.content import Content
from roomful.check.recorder import Recorder
from roomful.check.rooms import COUNT, FAIL, SLOWLY
from roomful.check.visitor import Visitor, Where
from roomful_protocol.frames import Frame
from roomful_rooms.tasks import Tasks

OWN_ROOMS: Final = "check-"
"""Rooms of this name are run by `CheckRoom` in a cluster of our own."""
ROOMS_EACH: Final = (2, 4)
BURST: Final = (5, 15)
BYTES: Final = bytes(range(0, 256, 17))

DROP: Final = "drop"
AWAY: Final = "away"
VANISH: Final = "vanish"
FAULTS: Final = (DROP, AWAY, VANISH)
"""What may happen to clients: a broken connection, a while without one, an end without a word."""

_SINCE: Final[Sequence[int | str]] = ("new", 0, "last:5")
# How often each thing is done, in proportion.
_SAYING: Final = {
    "say": 50, "count": 10, "slowly": 4, "fail": 2, "whisper": 8, "aside": 5, "unheard": 5,
    "murmur": 8, "burst": 1, "read": 3, "list": 3, "rejoin": 1.5,
}  # fmt: skip
_SUFFERING: Final = {DROP: 1.5, AWAY: 0.6, VANISH: 0.2}


@dataclass(frozen=True, slots=True)
class Scale:
    """So many clients and rooms, and messages a second of all together."""

    clients: int
    rooms: int
    rate: float
    grace_s: float


class Crowd:
    """The clients of a run. `faults`: those of FAULTS that may happen to them."""

    def __init__(
        self,
        seed: int,
        scale: Scale,
        where: Where,
        rooms: Sequence[str],
        faults: frozenset[str],
        tasks: Tasks,
        now: Callable[[], float],
    ) -> None:
        self.visitors: list[Visitor] = []
        self._seed, self._scale, self._where, self._rooms = seed, scale, where, rooms
        self._tasks, self._now = tasks, now
        self._contents: dict[Content, Content] = {}
        self._talking: set[asyncio.Task[None]] = set()
        suffering: dict[str, float] = {kind: _SUFFERING[kind] for kind in FAULTS if kind in faults}
        self._deeds: dict[str, float] = {**_SAYING, **suffering}
        self._keys = 0

    @property
    def present(self) -> list[Visitor]:
        """Those who are there, or will be again."""
        return [one for one in self.visitors if not one.gone]

    @property
    def targeted(self) -> dict[str, Frame]:
        """The messages that were not for everybody, by key."""
        return {key: f for one in self.visitors for key, f in one.recorder.targeted.items()}

    def gather(self) -> None:
        """Let everybody come, and begin to talk."""
        for _ in range(self._scale.clients):
            self._come()

    def _come(self) -> None:
        visitor, chance = self.invite(f"c{len(self.visitors) + 1}")
        rooms = chance.sample(self._rooms, min(len(self._rooms), chance.randint(*ROOMS_EACH)))
        for room in rooms:
            visitor.join(room, chance.choice(_SINCE))
        talking = self._tasks.start(self._live(visitor, rooms, chance), f"{visitor.name}: talks")
        self._talking.add(talking)

    def invite(self, name: str) -> tuple[Visitor, Random]:
        """Somebody new, who connects and says nothing by itself."""
        # Not one source for all: what one does must not depend on when another does something.
        chance = Random(f"{self._seed} {name}")  # noqa: S311
        recorder = Recorder(self._now, self._contents)
        binary = chance.random() < 0.3
        visitor = Visitor(name, self._where, recorder, chance, binary=binary)
        self.visitors.append(visitor)
        self._tasks.start(visitor.run(), f"{name}: connects")
        return visitor, chance

    async def fall_silent(self) -> None:
        """Nobody says or suffers anything any more; who was away comes back."""
        for talking in self._talking:
            talking.cancel()
        if self._talking:
            await asyncio.wait(self._talking)
        for visitor in self.present:
            visitor.welcome()

    # -- one visitor's life ------------------------------------------------------------------------

    async def _live(self, visitor: Visitor, rooms: Sequence[str], chance: Random) -> None:
        """Do one thing after the other, until silenced, or gone."""
        pause_s = self._scale.clients / self._scale.rate
        names, weights = list(self._deeds), list(self._deeds.values())
        while not visitor.gone:
            await asyncio.sleep(chance.expovariate(1 / pause_s))
            deed = chance.choices(names, weights)[0]
            room = chance.choice(rooms)
            if room not in visitor.state.places:
                # It has left, or was put out while its node was taken for dead.
                self._return(visitor, room, chance)
            elif deed in FAULTS:
                await self._suffer(visitor, deed, chance)
            elif deed == "rejoin":
                visitor.leave(room)
            elif not visitor.busy:
                self._do(visitor, room, deed, chance)

    def _return(self, visitor: Visitor, room: str, chance: Random) -> None:
        epoch, seq = visitor.seen.get(room, ("", None))
        since: int | str = chance.choice(["new", "last:3"]) if seq is None else seq
        visitor.join(room, since, epoch or None)

    async def _suffer(self, visitor: Visitor, fault: str, chance: Random) -> None:
        if fault == DROP:
            visitor.drop()
            return
        visitor.stay_away()
        if fault == VANISH:
            visitor.gone = True
            self._come()
            return
        within = chance.random() < 0.6
        share = chance.uniform(0.1, 0.7) if within else chance.uniform(1.2, 2.0)
        await asyncio.sleep(share * self._scale.grace_s)
        visitor.welcome()

    def _do(self, visitor: Visitor, room: str, deed: str, chance: Random) -> None:
        own = room.startswith(OWN_ROOMS)
        match deed:
            case "count" | "slowly" | "fail" if own:
                types = {"count": COUNT, "slowly": SLOWLY, "fail": FAIL}
                visitor.ask(self._message(visitor, chance, room, types[deed]))
            case "burst":
                for _ in range(chance.randint(*BURST)):
                    visitor.ask(self._message(visitor, chance, room))
            case "whisper" | "aside":
                other = chance.choice(self.present).user
                frame = self._message(visitor, chance, room, "chat.whisper")
                if deed == "aside":
                    del frame["room"]
                visitor.ask({**frame, "to": {"user": other}})
            case "unheard":
                visitor.ask({**self._message(visitor, chance, room), "echo": False})
            case "murmur":
                frame = self._message(visitor, chance, room, "chat.typing")
                visitor.signal({**frame, "ephemeral": True})
            case "read" | "list":
                self._look(visitor, room, deed, chance)
            case _:
                visitor.ask(self._message(visitor, chance, room))

    def _look(self, visitor: Visitor, room: str, deed: str, chance: Random) -> None:
        frame: dict[str, Any] = {"type": "members" if deed == "list" else "history", "room": room}
        position = visitor.state.places[room].position
        if deed == "read":
            frame["limit"] = chance.randint(1, 60)
            side = chance.choice(["before", "after", ""])
            if side and position:
                frame[side] = chance.randint(1, position)
        visitor.ask(frame)

    def _message(
        self, visitor: Visitor, chance: Random, room: str, type: str = "chat.message"
    ) -> dict[str, Any]:
        self._keys += 1
        data: dict[str, object] = {"key": f"{visitor.name}.{self._keys}"}
        if chance.random() < 0.1:
            data["bytes"] = BYTES
        if chance.random() < 0.1:
            data["text"] = "ö" * chance.randint(1, 2000)
        return {"type": type, "room": room, "data": data}
