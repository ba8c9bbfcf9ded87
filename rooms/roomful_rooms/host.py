"""A node's rooms: started by their first command, passed on with their partition, put to rest.

The host serves a room only while its node holds the lease of the room's partition; every other
command is answered `Moved`. That is courtesy, not safety: what keeps two hosts apart is the log.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from math import ceil, inf

import structlog

from roomful_protocol.ids import NodeId, Partition, RoomName, partition_of
from roomful_protocol.messages import MOVED, Command, Live
from roomful_rooms.actor import Limits, RoomActor
from roomful_rooms.appends import Left, Wrote
from roomful_rooms.clock import Clock, NewId
from roomful_rooms.costs import Costs, Loaded
from roomful_rooms.draft import Answered
from roomful_rooms.epochs import Epochs
from roomful_rooms.journal import Fenced, Journal
from roomful_rooms.kinds import Kinds
from roomful_rooms.log import Archive, Log, Unavailable
from roomful_rooms.presence import Life
from roomful_rooms.sweep import Sweep
from roomful_rooms.tasks import Tasks
from roomful_rooms.waking import Waking

RESTART_S = (0.05, 5.0)
"""A room that keeps failing is started again after this, doubling up to that, in seconds; one that
has not failed for twice that long has a clean slate."""
TEND_S = 1.0
AT_A_TIME = 64
"""Rooms that are looked after in one go: half a millisecond's work."""
BEACON_S = 5.0
"""Rooms used within so many seconds announce their head once a second."""

NO_COSTS: Mapping[Partition, float] = {}

log_ = structlog.get_logger()


class RoomHost:
    """Runs the rooms of the partitions that this node holds.

    `beacon` is told now and then how far a room is, and whether other nodes may listen; `doubt`
    whether the lease is in doubt, when that changes.
    """

    def __init__(
        self,
        node: NodeId,
        *,
        kinds: Kinds,
        log: Log,
        archive: Archive,
        clock: Clock,
        new_id: NewId,
        tasks: Tasks,
        live: Callable[[RoomName, Live], None],
        beacon: Callable[[RoomName, int, bool], None],
        wrote: Wrote = lambda _room, _block, _seconds: None,
        left: Left = lambda _room: None,
        doubt: Callable[[bool], None] = lambda _doubting: None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        idle_s: float = 300,
        grace_s: float = 15,
        forget_s: float = 30,
        incarnation: str = "",
    ) -> None:
        self._node = node
        self._kinds, self._log, self._archive = kinds, log, archive
        self._clock, self._new_id, self._tasks = clock, new_id, tasks
        self._live, self._beacon, self._limits = live, beacon, limits
        self._wrote, self._left, self._doubt = wrote, left, doubt
        self._now, self._idle_s = clock.monotonic, idle_s
        # Rooms take turns, so that the loop is not held up by all of them at once.
        self._turns, self._turn = ceil(forget_s / TEND_S), 0
        self._epochs = Epochs(new_id, incarnation)
        self._sweep = Sweep(tasks, grace_s)
        self._terms: dict[Partition, int] = {}
        self._costs = Costs()
        self._actors: dict[RoomName, RoomActor] = {}
        self._failures: dict[RoomName, tuple[float, float]] = {}
        self._until, self._suspended, self._closed = inf, False, False
        self._waking = Waking(log, tasks, term=self._terms.get, start=self._running)

    # -- commands ----------------------------------------------------------------------------------

    def receive(self, command: Command, answered: Answered) -> None:
        """Hand `command` to its room, starting it if need be; Moved if it is not ours to serve."""
        now = self._now()
        if self._sweep.missed:
            self._sweep.heard(command.sender, now)
        # Whether the lease is certain at this moment: see `_certain`.
        actor = self._actors.get(command.room) if now < self._until else None
        if actor is None and (actor := self._start(command.room)) is None:
            answered(MOVED)
        else:
            actor.receive(command, answered)

    def _running(self, room: RoomName) -> RoomActor | None:
        return self._actors.get(room) or self._start(room)

    def _start(self, room: RoomName) -> RoomActor | None:
        term = self._terms.get(partition_of(room))
        _, not_before = self._failures.get(room, (0.0, 0.0))
        if term is None or not self._certain or self._clock.monotonic() < not_before:
            return None
        kind = self._kinds.of(room)
        journal = Journal(
            room, term, self._node, log=self._log, archive=self._archive, clock=self._clock,
            new_id=self._new_id, epochs=self._epochs, tasks=self._tasks, keep=kind.history,
            wrote=self._wrote, left=self._left,
        )  # fmt: skip
        actor = RoomActor(
            kind, journal, clock=self._clock, tasks=self._tasks, limits=self._limits,
            live=self._live, ended=self._ended,
        )  # fmt: skip
        self._actors[room] = actor
        return actor

    def _ended(self, actor: RoomActor, reason: BaseException) -> None:
        """An actor cannot go on. Whoever asks next starts another, which recovers from the log."""
        if self._actors.get(actor.name) is actor:
            del self._actors[actor.name]
        if isinstance(reason, asyncio.CancelledError):
            return
        wait = self._back_off(actor.name)
        self._tell_end(actor, reason, wait)
        # One that did not even open is being roused: by whoever took its partition, or crashed.
        if actor.members and actor.opening.done():
            self._waking.rouse(actor.name, actor.partition, actor.journal.term)

    def _tell_end(self, actor: RoomActor, reason: BaseException, retry_s: float) -> None:
        room, said = actor.name, str(reason)
        if isinstance(reason, Fenced):
            log_.warning("room.fenced", room=room, term=actor.journal.term)
        elif isinstance(reason, Unavailable):
            log_.warning("room.unavailable", room=room, retry_s=retry_s, reason=said)
        else:
            log_.error("room.crashed", room=room, retry_s=retry_s, reason=said, exc_info=reason)

    def _back_off(self, room: RoomName) -> float:
        """Seconds until `room` may be started again."""
        now, (wait, until) = self._clock.monotonic(), self._failures.get(room, (0.0, 0.0))
        fresh = now > until + 2 * RESTART_S[1]
        wait = RESTART_S[0] if fresh else min(wait * 2, RESTART_S[1])
        self._failures[room] = (wait, now + wait)
        return wait

    # -- partitions --------------------------------------------------------------------------------

    @property
    def partitions(self) -> int:
        return len(self._terms)

    @property
    def rooms(self) -> int:
        return len(self._actors)

    @property
    def costs(self) -> Mapping[Partition, float]:
        """What each partition costs that is served here."""
        return self._costs.now

    def assign(
        self, terms: Mapping[Partition, int], costs: Mapping[Partition, float] = NO_COSTS
    ) -> None:
        """Serve exactly these partitions, under these terms, and let go of all others; what is new
        is searched for rooms with members, which are woken. `costs`: what their last owners found.
        """
        if self._closed:
            return
        for partition in [p for p, term in self._terms.items() if terms.get(p) != term]:
            self._drop(partition)
        for partition, term in terms.items():
            if partition not in self._terms:
                self._terms[partition] = term
                self._costs.expect(partition, costs.get(partition, 1.0))
                self._waking.search(partition, term)

    async def release(self, partition: Partition) -> None:
        """Stop serving a partition in good order: its rooms finish, and leave a snapshot."""
        self._terms.pop(partition, None)
        self._costs.forget(partition)
        await self._close(actor for actor in self._actors.values() if actor.partition == partition)

    def _drop(self, partition: Partition) -> None:
        """The partition is another node's already: what we would still write could only harm."""
        self._terms.pop(partition, None)
        self._costs.forget(partition)
        for actor in [a for a in self._actors.values() if a.partition == partition]:
            del self._actors[actor.name]
            actor.drop()
            log_.info("room.dropped", room=actor.name, term=actor.journal.term)

    async def _close(self, actors: Iterable[RoomActor]) -> None:
        actors = list(actors)
        closing = [self._tasks.start(actor.close(), f"close {actor.name}") for actor in actors]
        # Until they have gone they stay listed, so that nobody starts a second actor beside them.
        if closing:
            await asyncio.wait(closing)
        for actor in actors:
            if self._actors.get(actor.name) is actor:
                del self._actors[actor.name]

    def serve_until(self, until: float) -> None:
        """Serve nobody from `until` on, in monotonic seconds: then the lease is in doubt. What is
        in memory stays, and serves again when told a later time."""
        self._until = until
        self._tell_certainty()

    @property
    def _certain(self) -> bool:
        """Whether the lease is certain at this moment. Somebody who was paused finds a lot to do on
        waking, and may not be told in time that it is not."""
        return self._clock.monotonic() < self._until

    def _tell_certainty(self) -> None:
        if self._suspended == self._certain:
            self._suspended = not self._suspended
            log_.warning("host.suspended" if self._suspended else "host.resumed")
            self._doubt(self._suspended)

    async def close(self) -> None:
        """Stop all rooms in good order, and start none any more."""
        self._closed = True
        self._terms.clear()
        await self._close(list(self._actors.values()))

    # -- members that are gone, rooms that rest ----------------------------------------------------

    @property
    def missing(self) -> list[tuple[Life, float]]:
        """The nodes that are missed here, and for how many seconds."""
        return self._sweep.missing(self._clock.monotonic())

    async def tend(
        self,
        living: Callable[[], Collection[Life]],
        missed_s: Callable[[], Mapping[Life, float]] = dict,
    ) -> None:
        """For ever: sweep the members of lost nodes after their grace, put idle rooms to rest.

        `missed_s` tells for how long other nodes have missed whom, in seconds.
        """
        while True:
            await asyncio.sleep(TEND_S)
            try:
                self._tell_certainty()
                await self._look_after(frozenset(living()), missed_s())
                self._forgive()
            except Exception:
                log_.exception("host.tend_failed")

    async def _look_after(self, living: frozenset[Life], missed_s: Mapping[Life, float]) -> None:
        """See to all rooms, a few at a time: there may be thousands."""
        now, counting = self._clock.monotonic(), self._costs.due(self._clock.monotonic())
        self._turn = (self._turn + 1) % self._turns
        absent: dict[RoomActor, frozenset[Life]] = {}
        loaded: list[Loaded] = []
        for number, actor in enumerate(list(self._actors.values()), 1):
            if number % AT_A_TIME == 0:
                await asyncio.sleep(0)
            # One that is not open yet says nothing of how many members and messages it has.
            if self._actors.get(actor.name) is not actor or not actor.opening.done():
                continue
            if missing := actor.journal.held.presence.nodes - living:
                absent[actor] = missing
            if counting:
                head = actor.journal.recent.head
                loaded.append(Loaded(actor.name, actor.partition, actor.members, head))
            self._visit(actor, now)
        if self._certain:
            self._sweep.look(living, absent, now, missed_s)
        if counting:
            self._costs.look(loaded, now)

    def _visit(self, actor: RoomActor, now: float) -> None:
        """Nothing here waits for the broker."""
        held, actor.last_used = actor.journal.held, min(actor.last_used, now)
        unused_s = now - actor.last_used
        if unused_s < BEACON_S and self._certain:
            # Republication may lose a room's last event, and nothing after it would show.
            elsewhere = held.presence.elsewhere(self._node)
            self._beacon(actor.name, actor.journal.recent.head, elsewhere)
        # A handler in progress may yet undo that somebody has left; and what waits may have been
        # asked long ago, by somebody who has asked more than once.
        if actor.partition % self._turns == self._turn and not actor.waiting:
            held.ledger.forget(held.presence)
        if unused_s > self._idle_s and actor.idle:
            self._tasks.start(self._close([actor]), f"rest {actor.name}")

    def _forgive(self) -> None:
        """Forget failures that are long ago."""
        now = self._clock.monotonic()
        for room, (_, until) in list(self._failures.items()):
            if now > until + 2 * RESTART_S[1]:
                del self._failures[room]
