"""One run of the check, from an empty room to the verdict."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from roomful.check import crowd as crowds
from roomful.check import faults, nodelogs
from roomful.check.cluster import Cluster, Shape
from roomful.check.crowd import OWN_ROOMS, Crowd, Scale
from roomful.check.evidence import Bounds, Violation
from roomful.check.faults import Faults
from roomful.check.history import History, Joined, Trouble
from roomful.check.roomlog import RoomLog
from roomful.check.scribe import Reader, Scribe
from roomful.check.verdict import Verdict, judge
from roomful.check.visitor import Visitor, Where
from roomful.failure import Failure
from roomful_nodes.nats_connection import NatsConnection
from roomful_nodes.nats_log import NatsLog
from roomful_protocol.subjects import Subjects
from roomful_rooms.tasks import Tasks

SETTLE_S: Final = 60.0
"""So long after the last trouble everything is to be answered."""
LOOK_S: Final = 0.2
MARGIN: Final = 0.25
"""Of the grace, which ends a little sooner or later than its clients believe."""
SLACK_S: Final = 5.0
AUDITOR: Final = "auditor"
HEARD_S: Final = 6.0
"""In so long the last event of a quiet room has been heard, even if its announcement was lost."""


@dataclass(frozen=True, slots=True)
class Design:
    """What is to be tried: `seconds` of talk with `faults`, on a cluster of the `shape`, or on the
    one at `urls`."""

    seed: int
    seconds: float
    scale: Scale
    faults: frozenset[str]
    shape: Shape
    urls: tuple[str, ...] = ()
    token: str | None = None
    client_token: str | None = None

    @property
    def gone_s(self) -> float:
        """So long after a client or its node has vanished, it has left."""
        grace_s = self.scale.grace_s
        return SLACK_S + (grace_s if self.urls else 2 * grace_s + self.shape.lease_s)

    @property
    def longest_s(self) -> float:
        """A trial that takes longer hangs."""
        return self.seconds + self.gone_s + 3 * SETTLE_S + 120


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it. `histories` and `logs` are the evidence; `untried` are the troubles of nodes
    that were wanted, and for which there was no time."""

    verdict: Verdict
    histories: Sequence[History]
    logs: Sequence[RoomLog]
    troubles: Sequence[Trouble]
    untried: tuple[str, ...]


@dataclass(slots=True)
class Progress:
    """How far it is; `tell` is told what happens, in one line each."""

    tell: Callable[[str], None]
    phase: str = "starting"
    crowd: Crowd | None = None
    faults: Faults | None = None

    def enter(self, phase: str) -> None:
        self.phase = phase
        self.tell(phase)


class Trial:
    """Runs `design`; files go to `folder`. `progress` is kept up to date."""

    def __init__(self, design: Design, folder: Path, progress: Progress) -> None:
        self._design, self._folder, self._progress = design, folder, progress
        self._started = time.monotonic()
        self._complaints: list[Violation] = []
        names = [OWN_ROOMS, "talk-"]
        self._rooms = [
            f"{names[number % 2 if not design.urls else 0]}{design.seed}-{number}"
            for number in range(design.scale.rooms)
        ]

    def _now(self) -> float:
        return time.monotonic() - self._started

    async def run(self) -> Result:
        """Raises Failure if there is no cluster, TimeoutError if it hangs."""
        async with asyncio.timeout(self._design.longest_s):
            if self._design.urls:
                return await self._elsewhere(Where(self._design.urls, self._design.client_token))
            return await self._at_home()

    # -- a cluster of our own ----------------------------------------------------------------------

    async def _at_home(self) -> Result:
        tasks = Tasks("check")
        async with AsyncExitStack() as running:
            cluster = await running.enter_async_context(Cluster(self._design.shape, self._folder))
            running.push_async_callback(tasks.close)
            scribe = await running.enter_async_context(self._scribe(cluster))
            copying = tasks.start(scribe.run(), "scribe")
            crowd = self._crowd(Where(cluster.urls), tasks)
            making = Faults(
                cluster,
                self._design.seed,
                self._design.faults,
                tasks,
                self._now,
                self._progress.tell,
            )
            self._progress.faults = making
            await self._talk(crowd, making.run(self._design.seconds))
            await self._settle(crowd)
            copying.cancel()
            histories = await self._end(crowd, cluster.urls[0])
            await scribe.copy()
            ended_at = self._now()
            await tasks.close()
            self._progress.enter("stopping the nodes")
            await asyncio.gather(*(node.drain() for node in cluster.nodes if node.wanted))
            self._complain("nodes", [end for node in cluster.nodes for end in node.ends])
            self._complain("recovery", making.complaints)
        expected = nodelogs.DEATHS if "broker" in self._design.faults else frozenset()
        for file in sorted(self._folder.glob("**/*.log")):
            if "broker" not in file.parts:
                self._complaints += nodelogs.complaints(file, expected)
        return self._result(histories, scribe.logs, making.troubles, ended_at)

    @asynccontextmanager
    async def _scribe(self, cluster: Cluster) -> AsyncIterator[Scribe]:
        broker = cluster.broker
        connection = await NatsConnection.open(broker.url, name="roomful check", token=broker.token)
        try:
            yield Scribe(NatsLog(connection, Subjects("rf")), self._rooms)
        finally:
            await connection.close()

    def _complain(self, rule: str, sentences: Sequence[str]) -> None:
        self._complaints += [Violation(rule, sentence) for sentence in sentences]

    # -- somebody's cluster ------------------------------------------------------------------------

    async def _elsewhere(self, where: Where) -> Result:
        tasks = Tasks("check")
        try:
            reader = Reader(where.urls[0], self._design.token)
            # Before anybody says anything: is somebody there, and do they let us in?
            for room in self._rooms:
                await reader.members(room, self._now())
            crowd = self._crowd(where, tasks)
            await self._talk(crowd, self._let_in(crowd))
            await self._settle(crowd)
            histories = await self._end(crowd, where.urls[0])
            logs = [await reader.log(room, crowd.targeted) for room in self._rooms]
            return self._result(histories, logs, (), self._now())
        finally:
            await tasks.close()

    async def _let_in(self, crowd: Crowd) -> None:
        """Let them talk. Raises Failure if none of them is wanted: nothing can be judged then."""
        deadline = self._now() + self._design.seconds
        while (left_s := deadline - self._now()) > 0:
            await asyncio.sleep(min(left_s, LOOK_S))
            ends = [one.state.over for one in crowd.present]
            if all(ends):
                raise Failure(f"Clients are not let in: {ends[0]} Try another --client-token.")

    # -- what both have in common ------------------------------------------------------------------

    def _crowd(self, where: Where, tasks: Tasks) -> Crowd:
        suffered = self._design.faults.intersection(crowds.FAULTS)
        crowd = Crowd(
            self._design.seed, self._design.scale, where, self._rooms, suffered, tasks, self._now
        )
        self._progress.crowd = crowd
        return crowd

    async def _talk(self, crowd: Crowd, meanwhile: Awaitable[None]) -> None:
        self._progress.enter("talking")
        crowd.gather()
        await meanwhile
        await crowd.fall_silent()

    async def _settle(self, crowd: Crowd) -> None:
        """Wait until everything is answered, and whoever went is gone."""
        self._progress.enter("settling")
        await self._until_settled(crowd)
        await asyncio.sleep(self._design.gone_s)

    async def _until_settled(self, crowd: Crowd) -> None:
        await self._until(lambda: all(one.settled for one in crowd.present))

    async def _until_heard(self, crowd: Crowd, auditor: Visitor) -> None:
        """Until everybody has heard of the auditor's coming, which is the end of each log."""
        heads = {one.room: one.seq for one in auditor.recorder.events if isinstance(one, Joined)}

        def heard() -> bool:
            places = [item for one in crowd.present for item in one.state.places.items()]
            return all((place.position or 0) >= heads.get(room, 0) for room, place in places)

        await self._until(heard)

    async def _until(self, true: Callable[[], bool]) -> None:
        # What does not come in time is missing in the histories, which says so better.
        deadline = self._now() + SETTLE_S
        while self._now() < deadline and not true():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(LOOK_S)

    async def _end(self, crowd: Crowd, url: str) -> list[History]:
        """Have everybody look around once more, and somebody new hear all from the beginning."""
        self._progress.enter("auditing")
        auditor, _ = crowd.invite(AUDITOR)
        for room in self._rooms:
            auditor.join(room, 0)
        await self._until_settled(crowd)
        await self._until_heard(crowd, auditor)
        for visitor in crowd.present:
            for room in visitor.state.places:
                visitor.ask({"type": "members", "room": room})
        await self._until_settled(crowd)
        await asyncio.sleep(HEARD_S)
        reader = Reader(url, self._design.token)
        listed = [await reader.members(room, self._now()) for room in self._rooms]
        told = History("the operators' API", "operator", listed, gone=True)
        histories = [one.history for one in crowd.visitors]
        # Whatever happens from now on is our own end.
        return [told, *(History(h.client, h.user, list(h.events), h.gone) for h in histories)]

    def _result(
        self,
        histories: Sequence[History],
        logs: Sequence[RoomLog],
        troubles: Sequence[Trouble],
        ended_at: float,
    ) -> Result:
        self._progress.enter("judging")
        grace_s = self._design.scale.grace_s
        bounds = Bounds(grace_s, max(1.0, MARGIN * grace_s), self._design.gone_s, ended_at)
        verdict = judge(histories, logs, bounds, troubles, self._complaints)
        wanted = self._design.faults.intersection(faults.FAULTS)
        untried = tuple(sorted(wanted - {one.kind for one in troubles}))
        return Result(verdict, histories, logs, troubles, untried)
