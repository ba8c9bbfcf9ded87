"""Rules of presence: who is told to be there is there, and nobody leaves who came back in time.

Members are a fold of the log from its beginning: where that is forgotten, nothing can be said.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf

from roomful.check.evidence import Evidence, Violation
from roomful.check.history import (
    Event,
    History,
    Joined,
    Joining,
    Leaving,
    Left,
    Listed,
    Lost,
    Opened,
    Refused,
)  # fmt: skip
from roomful.check.joins import Joins
from roomful_protocol.ids import NodeId, RoomName, SessionId


def folded(evidence: Evidence) -> Iterator[Violation]:
    """Nobody comes who is there or goes who is not, and every count is right."""
    for log in evidence.logs.values():
        if log.oldest > 1:
            continue
        here: frozenset[SessionId] = frozenset()
        counts = {block.last: block.count for block in log.blocks}
        for entry in log.entries:
            content = entry.content
            if content.type == "presence":
                at = f"{log.room}: at seq {entry.seq},"
                for session in sorted(content.joined & here):
                    said = f"{at} {evidence.owner(session)} joins, and is there already."
                    yield Violation("presence", said)
                for session in sorted(content.left - here - content.joined):
                    said = f"{at} {evidence.owner(session)} leaves, and is not there."
                    yield Violation("presence", said)
                here = (here | content.joined) - content.left
                if content.count != len(here):
                    said = f"{at} {content.count} members are told, and {len(here)} are there."
                    yield Violation("presence", said)
            if counts.get(entry.seq, len(here)) != len(here):
                said = f"the block counts {counts[entry.seq]} members, and {len(here)} are there."
                yield Violation("presence", f"{log.room}: at seq {entry.seq}, {said}")


def listed(evidence: Evidence) -> Iterator[Violation]:
    """Whoever asks who is there is told what the log says, and finds itself there on joining."""
    for history in evidence.histories:
        for event in history.events:
            if not isinstance(event, Joined | Listed) or event.room not in evidence.logs:
                continue
            if evidence.logs[event.room].oldest > 1:
                continue
            here = evidence.attendance[event.room].at(event.seq)
            wrong = sorted(event.members ^ here if event.count == len(event.members) else ())
            if wrong or event.count != len(here):
                who = ", ".join(
                    f"{evidence.owner(s)} is {'' if s in here else 'not '}there" for s in wrong[:3]
                )
                said = f"{history.client} was told {event.count} members at seq {event.seq}"
                said = f"{event.room}: {said}; the log has {len(here)}. {who}"
                yield Violation("presence", said.strip())


@dataclass(slots=True)
class _Stay:
    """One session's time in a room between two joins of its client: from seq `after` until `until`.

    `excused_at`: something happened then after which it may be told to have left.
    """

    client: str
    session: SessionId
    after: int
    began: float
    until: int | None = None
    excused_at: float = inf
    lost_at: float | None = None
    nodes: list[tuple[NodeId, float]] = field(default_factory=list)

    def excuse(self, at: float) -> None:
        self.excused_at = min(self.excused_at, at)

    def lose(self, at: float, *, parted: bool) -> None:
        """The connection was lost."""
        self.lost_at = at if self.lost_at is None else self.lost_at
        if parted:
            self.excuse(at)

    def holds(self, seq: int, evidence: Evidence, room: RoomName) -> bool:
        """Whether nobody may be told at `seq` that it has left."""
        inside = self.after < seq and (self.until is None or seq <= self.until)
        excused = self.excused_at < inf and seq > evidence.growth.at(room, self.excused_at)
        return inside and not excused


def grace(evidence: Evidence) -> Iterator[Violation]:
    """A session that stays, or comes back within its grace, is never told to have left."""
    stays = _stays(evidence)
    for log in evidence.logs.values():
        for entry in log.entries:
            for session in sorted(entry.content.left):
                for stay in stays.get((log.room, session), ()):
                    if stay.holds(entry.seq, evidence, log.room):
                        said = f"{log.room}: {stay.client} ({session}) is told to have left"
                        said = f"{said} at seq {entry.seq}, though it was there or back in time."
                        yield Violation("grace", said)


def _stays(evidence: Evidence) -> dict[tuple[RoomName, SessionId], list[_Stay]]:
    found: dict[tuple[RoomName, SessionId], list[_Stay]] = {}
    for history in evidence.histories:
        for room in evidence.logs:
            for stay in _stays_in(evidence, history, room):
                found.setdefault((room, stay.session), []).append(stay)
    return found


def _stays_in(evidence: Evidence, history: History, room: RoomName) -> list[_Stay]:
    visits = _Visits(evidence, history.client)
    for event in history.events:
        match event:
            case Opened() | Lost():
                visits.connection(event)
            case Joining(at_room) | Joined(at_room) | Leaving(at_room) | Left(at_room):
                if at_room == room:
                    visits.take(event)
            case Refused(at_room, join=True) if at_room == room:
                visits.joins.answer()
            case _:
                pass
    for stay in visits.newest.values():
        visits.end(stay, evidence.bounds.ended_at)
    return visits.stays


@dataclass(slots=True)
class _Visits:
    """One client's comings to a room and goings from it. `newest`: the last stay of each session
    that it has had; it has one session at a time."""

    evidence: Evidence
    client: str
    stays: list[_Stay] = field(default_factory=list)
    newest: dict[SessionId, _Stay] = field(default_factory=dict)
    joins: Joins = field(default_factory=Joins)
    session: SessionId = ""
    node: NodeId = ""
    left_at: float = inf

    def connection(self, event: Opened | Lost) -> None:
        if isinstance(event, Opened):
            self.session, self.node = event.session, event.node
            if self.session in self.newest:
                self.newest[self.session].nodes.append((self.node, event.at))
            return
        self.joins.lose()
        if self.session in self.newest:
            self.newest[self.session].lose(event.at, parted=event.parted)

    def take(self, event: Joining | Joined | Leaving | Left) -> None:
        match event:
            case Joining():
                self.joins.ask()
            case Joined(seq=seq, at=at):
                self._begin(seq, at)
            case Leaving(at=at):
                self.joins.leave()
                self.left_at = at
                if self.session in self.newest:
                    self.newest[self.session].excuse(at)
            case Left(asked=asked):
                self.joins.left(asked=asked)

    def _begin(self, seq: int, at: float) -> None:
        if (before := self.newest.get(self.session)) is not None:
            self.end(before, at)
            before.until = seq
        stay = self.newest[self.session] = _Stay(self.client, self.session, seq, at)
        stay.nodes.append((self.node, at))
        self.stays.append(stay)
        if not self.joins.answer():
            # A leave is on its way already.
            stay.excuse(self.left_at)

    def end(self, stay: _Stay, at: float) -> None:
        """It lasted until `at`: was the client away for long, or its node in trouble for long?"""
        long_s = self.evidence.bounds.grace_s - self.evidence.bounds.margin_s
        if stay.lost_at is not None and at - stay.lost_at >= long_s:
            stay.excuse(stay.lost_at)
        for trouble in self.evidence.troubles:
            since, until = max(trouble.since, stay.began), min(trouble.until, at)
            on_it = trouble.node is None or any(node == trouble.node for node, _ in stay.nodes)
            if trouble.harms and on_it and until - since >= long_s:
                stay.excuse(since)


def connected(evidence: Evidence) -> Iterator[Violation]:
    """In the end everybody is connected who does not stay away: whoever is not hears of nothing."""
    for history in evidence.histories:
        if history.gone:
            continue
        comings = [event for event in history.events if isinstance(event, Opened | Lost)]
        if not comings:
            yield Violation("connected", f"{history.client} was never let in.")
        elif isinstance(comings[-1], Lost) and not comings[-1].parted:
            said = f"{history.client} was lost with code {comings[-1].code}, and is not back"
            yield Violation("connected", f"{said}.")


def present(evidence: Evidence) -> Iterator[Violation]:
    """In the end everybody is a member who is connected and has joined, and nobody else."""
    due = evidence.bounds.ended_at - evidence.bounds.gone_s
    for room, log in evidence.logs.items():
        if log.oldest > 1:
            continue
        here = evidence.attendance[room].last
        expected: dict[SessionId, str] = {}
        unsure: set[SessionId] = set()
        for history in evidence.histories:
            session, lost_at = _end_of(history.events, room)
            if session is not None and lost_at is None:
                expected[session] = history.client
            if any(isinstance(event, Lost) and event.at > due for event in history.events):
                unsure |= evidence.sessions[history.client]
        for session in sorted(expected.keys() - here):
            said = f"{room}: {expected[session]} ({session}) is there, and not among the members"
            yield Violation("present", f"{said}.")
        for session in sorted(here - expected.keys() - unsure):
            said = f"{room}: {evidence.owner(session)} is among the members, and is not there"
            yield Violation("present", f"{said}.")


def _end_of(events: Sequence[Event], room: RoomName) -> tuple[SessionId | None, float | None]:
    """The session by which a client is in `room` in the end, and when it was lost, if it was."""
    session: SessionId | None = None
    member: SessionId | None = None
    lost_at: float | None = None
    wanted = False
    for event in events:
        match event:
            case Opened(session=session):
                # Until it joins again, the new connection is in no room.
                pass
            case Joining(joining_room) if joining_room == room:
                wanted = True
            case Leaving(left_room) if left_room == room:
                wanted = False
            case Joined(joined_room) if joined_room == room:
                member, lost_at = session, None
            case Left(left_room, asked) if left_room == room and not (asked and wanted):
                # The answer to a leave may come after that to a join which was asked for later.
                member = None
            case Lost(at, parted=parted):
                lost_at = at if lost_at is None else lost_at
                member = None if parted else member
            case _:
                pass
    return member if wanted else None, lost_at


RULES = (folded, listed, grace, connected, present)
