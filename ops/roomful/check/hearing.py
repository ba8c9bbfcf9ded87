"""Rules of what is heard: one order for all, everything once, and no hole without a word."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from roomful.check.content import Content
from roomful.check.evidence import Evidence, Violation
from roomful.check.history import (
    Gap,
    GapTold,
    Heard,
    History,
    Joined,
    Joining,
    Leaving,
    Left,
    Lost,
    Opened,
    Read,
    Refused,
)  # fmt: skip
from roomful.check.joins import Joins
from roomful_protocol.ids import RoomName, SessionId


def agreement(evidence: Evidence) -> Iterator[Violation]:
    """What anybody hears under a seq is what the log has there, and is for whoever hears it."""
    for history in evidence.histories:
        session = ""
        for event in history.events:
            match event:
                case Opened(session=session):
                    continue
                case Heard(room, int(seq), content=content) if room in evidence.logs:
                    heard = [(seq, content)]
                case Read(room, events=events) if room in evidence.logs:
                    heard = list(events)
                case _:
                    continue
            for seq, content in heard:
                if said := _disagreement(evidence, history, session, room, seq, content):
                    yield _violation("agreement", history, room, said)


def _disagreement(
    evidence: Evidence,
    history: History,
    session: SessionId,
    room: RoomName,
    seq: int,
    content: Content,
) -> str:
    entry = evidence.entries[room].get(seq)
    if entry is None:
        kept = seq >= evidence.logs[room].oldest
        return f"heard seq {seq} ({content.type}), which is not in the log" if kept else ""
    if entry.content != content:
        return f"heard {content} as seq {seq}, where the log has {entry.content}"
    if not entry.audience.hears(history.user, session):
        return f"heard seq {seq}, which is for others"
    return ""


def invention(evidence: Evidence) -> Iterator[Violation]:
    """Ephemeral events are what somebody has said."""
    for history in evidence.histories:
        for event in history.events:
            match event:
                case Heard(room, None, content=content) if content.key not in evidence.sent:
                    said = f"heard an ephemeral {content.type} that nobody has said"
                    yield _violation("invention", history, room, said)


def order(evidence: Evidence) -> Iterator[Violation]:
    """Each client hears what is for it, each event once, in order, or is told what it will not."""
    for history in evidence.histories:
        ears: dict[RoomName, _Ear] = {}
        session = ""
        for event in history.events:
            match event:
                case Opened(session=session):
                    continue
                case Lost():
                    for ear in ears.values():
                        ear.lost()
                case Joining(room) if room in evidence.logs:
                    ears.setdefault(room, _Ear(evidence, history, room)).asks()
                case Leaving(room) if room in ears:
                    ears[room].leaves()
                case Left(room, asked) if room in ears:
                    ears[room].left(asked=asked)
                case Refused(str(room), join=True) if room in ears:
                    ears[room].joins.answer()
                case Joined(room) if room in ears:
                    yield from ears[room].joined(event, session)
                case Heard(room) if room in ears:
                    yield from ears[room].heard(event, session)
                case GapTold(room) if room in ears and ears[room].listening:
                    yield from ears[room].told(event.gap)
                case _:
                    continue
        if not history.gone:
            for ear in ears.values():
                yield from ear.finish(session)


@dataclass(slots=True)
class _Ear:
    """How far one client has heard one room, by the rules of protocol/README.md, section 6.

    `last` is None while it is not known: after `last:N`, until the first event. `holed`: the
    numbers told of a hole, which a join is to fill.
    """

    evidence: Evidence
    history: History
    room: RoomName
    last: int | None = 0
    listening: bool = False
    joins: Joins = field(default_factory=Joins)
    holed: bool = False
    joined_at: int = 0

    def asks(self) -> None:
        self.joins.ask()
        self.listening = self.holed = False

    def leaves(self) -> None:
        self.joins.leave()
        self.listening = self.holed = False

    def left(self, *, asked: bool) -> None:
        self.joins.left(asked=asked)
        if not asked:
            self.listening = self.holed = False

    def lost(self) -> None:
        self.joins.lose()
        self.listening = self.holed = False

    def joined(self, joined: Joined, session: SessionId) -> Iterator[Violation]:
        self.joins.answer()
        if self.joins.due or not self.joins.wanted:
            return
        self.listening, self.joined_at = True, joined.seq
        if joined.epoch != self.evidence.logs[self.room].epoch:
            yield self._is("epoch", f"joined in epoch {joined.epoch}, which is not the log's")
        if joined.seq > self.evidence.logs[self.room].head:
            yield self._is("agreement", f"joined at seq {joined.seq}, past the end of the log")
        match joined.since:
            case int(since):
                self.last = since
                if joined.gap is not None:
                    yield from self.told(joined.gap)
                elif not joined.recovered:
                    yield self._is("gaps", f"joined since {since}: not recovered, and no gap told")
            case "new":
                self.last = joined.seq
            case _:
                self.last = None

    def told(self, gap: Gap) -> Iterator[Violation]:
        """A gap is honest about what is forgotten; nothing else may be missing."""
        oldest = self.evidence.logs[self.room].oldest
        if gap.reason != "retention":
            yield self._is("lost", f"was told that {gap.first} to {gap.last} are {gap.reason}")
        elif gap.last >= oldest:
            said = f"was told that {gap.first} to {gap.last} are forgotten; the log has {oldest}"
            yield self._is("gaps", said)
        self.last = max(self.last or 0, gap.last)

    def heard(self, heard: Heard, session: SessionId) -> Iterator[Violation]:
        if not self.listening or heard.seq is None:
            return
        seq = heard.seq
        if self.last is None:
            # The newest so many: the last one of them is the last one before the join, or after.
            self.last = seq - 1 if seq <= self.joined_at else self.joined_at
            if seq > self.joined_at and (missed := self._meant(1, self.joined_at, session)):
                yield self._is("order", f"asked for the newest events and was not told {missed}")
        if seq <= self.last:
            yield self._is("order", f"heard seq {seq} after seq {self.last}")
            return
        if (seq - 1 if heard.prev is None else heard.prev) > self.last:
            # Told by the numbers, so not silent: the client joins again from where it is.
            self.listening, self.holed = False, True
            return
        if missed := self._meant(self.last + 1, seq - 1, session):
            said = f"heard seq {seq} (prev {heard.prev}) after seq {self.last}, without {missed}"
            yield self._is("order", said)
        self.last = seq

    def finish(self, session: SessionId) -> Iterator[Violation]:
        """When all is quiet, whoever is there has heard everything."""
        if self.joins.due and self.joins.wanted:
            yield self._is("answered", "asked to join, and was never answered")
        if not (self.listening or self.holed):
            return
        first = (self.joined_at if self.last is None else self.last) + 1
        if missed := self._meant(first, self.evidence.logs[self.room].head, session):
            yield self._is("whole", f"has heard up to seq {self.last}, and never {missed}")

    def _meant(self, first: int, last: int, session: SessionId) -> str:
        meant = self.evidence.meant(self.room, first, last, self.history.user, session)
        return _listed([entry.seq for entry in meant])

    def _is(self, rule: str, said: str) -> Violation:
        return _violation(rule, self.history, self.room, said)


def reading(evidence: Evidence) -> Iterator[Violation]:
    """History is told in order and without a hole, up to or from where it was asked for."""
    for history in evidence.histories:
        session = ""
        for event in history.events:
            if isinstance(event, Opened):
                session = event.session
            elif isinstance(event, Read) and event.room in evidence.logs:
                yield from _read(evidence, history, event, session)


def _read(
    evidence: Evidence, history: History, read: Read, session: SessionId
) -> Iterator[Violation]:
    seqs = [seq for seq, _ in read.events]
    if seqs != sorted(set(seqs)):
        yield _violation("reading", history, read.room, f"was told history as {_listed(seqs)}")
        return
    first = read.after + 1 if read.after is not None else seqs[0] if seqs else 1
    last = read.before - 1 if read.before is not None else seqs[-1] if seqs else 0
    meant = evidence.meant(read.room, first, last, history.user, session)
    if missed := _listed([entry.seq for entry in meant if entry.seq not in set(seqs)]):
        said = f"read history from {first} to {last} without {missed}"
        yield _violation("reading", history, read.room, said)


def _listed(seqs: list[int]) -> str:
    """Numbers for a sentence, the first few of them."""
    return ", ".join(map(str, seqs[:5])) + (f" … {seqs[-1]}" if len(seqs) > 5 else "")


def _violation(rule: str, history: History, room: RoomName, said: str) -> Violation:
    return Violation(rule, f"{room}: {history.client} {said}.")


RULES: tuple[Callable[[Evidence], Iterator[Violation]], ...] = (
    agreement, invention, order, reading,
)  # fmt: skip
