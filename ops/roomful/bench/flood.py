"""As much as a server can take: who has been heard by all speaks again at once."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from roomful.bench.crowd import QUIET_S, SILENT_S, Crowd, Line, Room
from roomful.bench.processes import Window
from roomful.bench.said import MARK, Frames
from roomful.bench.wire import Broken

WARM_S: Final = 0.7
STALL_S: Final = 0.4
JOINED: Final = b'"type":"joined"'
UPGRADED: Final = b" 101 "


@dataclass(frozen=True, slots=True)
class Flow:
    """What went through in one window. `messages`, `deliveries`: per second. `load_busy`: the part
    of the window in which the generator had something to do. `stalled`: for STALL_S or longer
    nothing came."""

    messages: float
    deliveries: float
    window: Window
    load_busy: float
    stalled: bool = False

    @property
    def busy(self) -> float:
        """The part of its core that the server used."""
        return self.window.server_s / self.window.seconds

    def cpu_us(self, of: str = "delivery") -> dict[str, float]:
        """CPU microseconds of each of the server's programs for each message or delivery."""
        each = self.messages if of == "message" else self.deliveries
        count = max(each * self.window.seconds, 1)
        return {
            f"{part}_cpu_us_per_{of}": used * 1e6 / count
            for part, used in self.window.by_part.items()
        }


class Flood:
    """Speakers who take turns. In each room at most `on_the_way` messages are under way."""

    def __init__(
        self,
        crowd: Crowd,
        speakers: Mapping[Room, Sequence[Line]],
        on_the_way: int,
        frames: Frames,
    ) -> None:
        self._crowd, self._speakers, self._frames = crowd, speakers, frames
        self._on_the_way = on_the_way
        self._rooms = list(speakers)
        self._turns = dict.fromkeys(speakers, 0)

    def sample(self) -> bytes:
        """What one message brings to each member: events, acks, whatever it is."""
        room = self._rooms[0]
        record = room.ear.record = bytearray()
        self._say(room, 1)
        self._until(lambda: room.complete)
        quiet_since = time.perf_counter()
        while (now := time.perf_counter()) - quiet_since < QUIET_S:
            if self._crowd.hear():
                quiet_since = now
        room.ear.record = None
        return bytes(record)

    def run(self, seconds: float, servers: Iterable[int] = ()) -> Flow:
        """Speak for so long. Raises Broken if not everything comes, to the byte."""
        self._begin()
        self._speak(WARM_S)
        heard = sum(room.heard for room in self._rooms)
        delivered = self._delivered()
        waited = self._crowd.waited_s
        with Window(list(servers)) as window:
            silent_s = self._speak(seconds)
        waited = self._crowd.waited_s - waited
        heard = sum(room.heard for room in self._rooms) - heard
        delivered = self._delivered() - delivered
        self._until(lambda: all(room.complete for room in self._rooms))
        took = window.seconds
        stalled = silent_s >= STALL_S
        return Flow(heard / took, delivered / took, window, 1 - waited / took, stalled)

    def _delivered(self) -> float:
        return sum(room.heard * len(room.lines) for room in self._rooms)

    def _begin(self) -> None:
        for room in self._rooms:
            self._say(room, self._on_the_way)

    def _go_on(self, touched: Iterable[Room]) -> None:
        """Speak again where all, on the average, have heard enough."""
        on_the_way = self._on_the_way
        for room in touched:
            if (free := int(on_the_way - room.said + room.heard)) > 0:
                self._say(room, free)

    def _speak(self, seconds: float) -> float:
        """The longest time, in seconds, for which nothing came."""
        deadline = time.perf_counter() + seconds
        silent_since, longest = time.perf_counter(), 0.0
        while (now := time.perf_counter()) < deadline:
            if touched := self._crowd.hear():
                self._go_on(touched)
                longest = max(longest, now - silent_since)
                silent_since = now
            elif now - silent_since > SILENT_S:
                raise Broken(self._missing())
        return max(longest, time.perf_counter() - silent_since)

    def _say(self, room: Room, count: int) -> None:
        room.said += count
        speakers, turn = self._speakers[room], self._turns[room]
        share, more = divmod(count, len(speakers))
        for index in range(len(speakers) if share else more):
            line: Line = speakers[(turn + index) % len(speakers)]
            line.tcp.sendall(self._frames(share + (index < more)))
        self._turns[room] = (turn + more) % len(speakers)

    def _until(self, done: Callable[[], bool]) -> None:
        silent_since = time.perf_counter()
        while not done():
            if self._crowd.hear():
                silent_since = time.perf_counter()
            elif time.perf_counter() - silent_since > SILENT_S:
                raise Broken(self._missing())

    def _missing(self) -> str:
        said = sum(room.said for room in self._rooms)
        heard = sum(room.heard for room in self._rooms)
        return f"of {said} messages, {heard:.1f} were heard by all; then nothing came"


class InTurn(Flood):
    """`on_the_way` messages in all, each in the next room."""

    def _begin(self) -> None:
        self._next = cycle(self._rooms)
        self._heard = {room: room.heard for room in self._rooms}
        self._free = float(self._on_the_way)
        self._go_on(())

    def _go_on(self, touched: Iterable[Room]) -> None:
        for room in touched:
            heard = room.heard
            self._free += heard - self._heard[room]
            self._heard[room] = heard
        while self._free >= 1:
            self._free -= 1
            self._say(next(self._next), 1)


@dataclass(frozen=True, slots=True)
class Shape:
    """Who is there: `members` over all `rooms`; in each room so many speak, and so many messages
    are on the way at a time (of InTurn: in all)."""

    members: int
    rooms: int = 1
    speakers: int = 1
    on_the_way: int = 1
    kind: type[Flood] = Flood

    def paths(self) -> Iterable[str]:
        """Where the members connect: one room after the other, names of one length."""
        each = range(self.members)
        return (f"/ws?room=bench-{i % self.rooms:05}&name=m{i:05}" for i in each)

    def bare_paths(self) -> Iterable[str]:
        """The same at the server in C."""
        return (f"/r/{i % self.rooms}" for i in range(self.members))


@contextmanager
def gathered(
    port: int,
    shape: Shape,
    frames: Frames,
    paths: Iterable[str],
    until: bytes = JOINED,
    mark: bytes = MARK,
) -> Iterator[Flood]:
    """Members as `shape` says, connected to `paths`, who have heard all that came of it."""
    with Crowd.gathering() as crowd:
        lines = crowd.enter(port, paths, until)
        crowd.settle()
        rooms = [Room(lines[number :: shape.rooms], mark) for number in range(shape.rooms)]
        speakers = {room: room.lines[: shape.speakers] for room in rooms}
        yield shape.kind(crowd, speakers, shape.on_the_way, frames)
