"""The ledger against gateways that retry and change, a bad network, and owners that crash."""

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from tests.support.ledgers import stored

from roomful_protocol.blocks import Done, Member
from roomful_protocol.frames import NEW
from roomful_protocol.messages import (
    MOVED,
    Accepted,
    Answer,
    Ask,
    Command,
    Denied,
    Enter,
    Exit,
    Say,
    Sender,
)  # fmt: skip
from roomful_rooms.ledger import GLOBAL_ID, Ledger

ENTER = Enter(NEW, None)
UUID = "0123456789abcdef"
GIVEN_UP = Denied("unavailable", "Nobody answered in time.")


def sender(session: str = "s1", attach: str = "a1", user: str = "ann") -> Sender:
    return Sender(session, user, user.title(), "n1", attach)


def member(by: Sender) -> Member:
    return Member(by.session, by.user, by.name, by.node, by.attach)


def command(by: Sender, ask: Ask, n: int = 0, base: int | None = None) -> Command:
    return Command("lobby", by, ask, n, n if base is None else base)


def say(id: str | int | None = None) -> Say:
    return Say("chat.message", "hi", id)


def done(
    by: Sender, n: int, seq: int | None = 1, id: str | int | None = None, **rest: object
) -> Done:
    return Done(by.session, by.attach, n, by.user, id, seq, **rest)  # type: ignore[arg-type]


def verdict(ledger: Ledger, asked: Command) -> Answer | None:
    return ledger.verdict(asked, member(asked.sender))


@dataclass
class Lane:
    """A gateway's numbering of one attachment, and what it was told of each number; up to `lost`
    what was asked cannot come any more."""

    by: Sender
    last: int = 0
    lost: int = 0
    asks: dict[int, Ask] = field(default_factory=dict)
    told: dict[int, Answer] = field(default_factory=dict)

    def ask(self, ask: Ask) -> int:
        self.last += 1
        self.asks[self.last] = ask
        return self.last

    def command(self, n: int) -> Command:
        base = next(one for one in range(1, self.last + 2) if one not in self.told)
        return command(self.by, self.asks[n], n, min(base, n))

    def give_up(self) -> None:
        """Nothing that was asked so far is asked again, or still on its way."""
        self.lost = self.last
        for n in self.asks:
            self.told.setdefault(n, GIVEN_UP)


class Decided(RuleBasedStateMachine):
    """Gateways that pipeline, retry and change; a network that loses, doubles and reorders; rooms
    that refuse, and that are rebuilt from a snapshot and the blocks after it."""

    lanes = Bundle("lanes")
    questions = Bundle("questions")
    network = Bundle("network")

    @initialize()
    def start(self) -> None:
        self.ledger = Ledger()
        self.members: dict[str, Member] = {}
        self.attachments = 0
        self.owner = 0
        self.seq = 0
        self.effects: list[tuple[str, int, Ask]] = []
        self.seqs: dict[tuple[str, int], int] = {}
        self.refused: set[tuple[str, int]] = set()
        self.by_attach: dict[str, Lane] = {}
        # What a crash leaves: a snapshot, the blocks after it; and refusals that await a block.
        self.snapshot: tuple[Done, ...] = ()
        self.blocks: list[Done] = []
        self.riding: list[Done] = []

    @rule(target=lanes, session=st.sampled_from(["s1", "s2", "s3"]))
    def attach(self, session: str) -> Lane:
        self.attachments += 1
        by = sender(session, f"a{self.attachments}", "ann" if session != "s3" else "bob")
        lane = self.by_attach[by.attach] = Lane(by)
        lane.ask(ENTER)
        return lane

    @rule(lane=lanes, refuses=st.booleans())
    def enter(self, lane: Lane, refuses: bool) -> None:
        if 1 not in lane.told:
            self.deliver((self.owner, lane.command(1)), refuses, heard=True)

    @rule(target=questions, lane=lanes)
    def enter_late(self, lane: Lane) -> tuple[Lane, int]:
        return lane, 1

    @rule(
        target=questions,
        lane=lanes,
        asks=st.lists(st.sampled_from([None, "x", "y", UUID, UUID + "!"]), min_size=1, max_size=4),
    )
    def pipeline(self, lane: Lane, asks: list[str | None]) -> object:
        return multiple(*[(lane, lane.ask(say(id))) for id in asks])

    @rule(target=questions, lane=lanes)
    def leave(self, lane: Lane) -> tuple[Lane, int]:
        return lane, lane.ask(Exit())

    @rule(lane=lanes)
    def leave_at_once(self, lane: Lane) -> None:
        self.deliver((self.owner, lane.command(lane.ask(Exit()))), refuses=False, heard=True)

    @rule(target=network, question=questions)
    def send(self, question: tuple[Lane, int]) -> object:
        """What is answered is not asked again; but what is on its way may come twice."""
        lane, n = question
        return multiple() if n in lane.told else (self.owner, lane.command(n))

    @rule(sent=network, refuses=st.booleans(), heard=st.booleans())
    def deliver(self, sent: tuple[int, Command], refuses: bool, heard: bool) -> None:
        """Whatever was ever sent to this owner may come now, or again."""
        owner, asked = sent
        if owner != self.owner or asked.n <= self.by_attach[asked.sender.attach].lost:
            return
        answer = self._room(asked, refuses and not isinstance(asked.ask, Exit))
        lane = self.by_attach[asked.sender.attach]
        if heard and answer != MOVED and asked.n not in lane.told:
            lane.told[asked.n] = answer
            self._check_told(asked, answer)

    def _room(self, asked: Command, refuses: bool) -> Answer:
        by = asked.sender
        ready = self.ledger.verdict(asked, self.members.get(by.session))
        if ready is not None:
            if (record := self.ledger.renumbered(asked, ready)) is not None:
                self._record(record, effective=False)
            return ready
        if self._repeats_join(asked):
            return Accepted()
        if refuses or (not isinstance(asked.ask, Enter) and by.session not in self.members):
            self.refused.add((by.attach, asked.n))
            refusal = ("forbidden", f"{by.attach}/{asked.n}")
            self._record(done(by, asked.n, None, _id(asked.ask), denied=refusal), effective=False)
            return Denied(*refusal)
        return self._carry_out(asked)

    def _repeats_join(self, asked: Command) -> bool:
        return isinstance(asked.ask, Enter) and self.members.get(asked.sender.session) == member(
            asked.sender
        )

    def _carry_out(self, asked: Command) -> Answer:
        by = asked.sender
        self.seq += 1
        self.effects.append((by.attach, asked.n, asked.ask))
        self.seqs[by.attach, asked.n] = self.seq
        match asked.ask:
            case Enter():
                self.members[by.session] = member(by)
            case Exit():
                del self.members[by.session]
            case _:
                pass
        self._record(done(by, asked.n, self.seq, _id(asked.ask)), effective=True)
        return Accepted(self.seq)

    def _record(self, record: Done, *, effective: bool) -> None:
        self.ledger.record(record)
        self.riding.append(record)
        if effective:
            self.blocks += self.riding
            self.riding = []

    @rule()
    def checkpoint(self) -> None:
        self.snapshot = stored(self.ledger, self.members)
        self.blocks = []
        self.riding = []

    @rule()
    def forget(self) -> None:
        """So much later that gateways have given up whatever they asked before."""
        for lane in self.by_attach.values():
            if lane.by.session not in self.members:
                lane.give_up()
        self.ledger.forget(self.members)
        self.ledger.forget(self.members)

    @rule()
    def crash(self) -> None:
        """What rode on no block is forgotten: it had no effect. The next owner hears what is sent
        to itself."""
        self.owner += 1
        self.ledger = Ledger([*self.snapshot, *self.blocks])
        self.riding = []

    def _check_told(self, asked: Command, answer: Answer) -> None:
        key = (asked.sender.attach, asked.n)
        match answer:
            case Denied(message=message):
                # A join may have taken effect, unheard, and be asked for again too late.
                late = "goes on" in message or "left the room since" in message
                assert late or (key in self.refused and key not in self.seqs)
            case Accepted(seq=None):
                assert isinstance(asked.ask, Enter), "nothing else may be answered by heart"
            case Accepted(seq=seq):
                ids = [by for by in self.seqs if self.seqs[by] == seq]
                assert ids == [key] or _id(asked.ask) is not None
            case _:
                pytest.fail(f"not an answer to this: {answer}")

    @invariant()
    def nothing_takes_effect_twice(self) -> None:
        numbers = [(attach, n) for attach, n, _ in self.effects]
        assert len(set(numbers)) == len(numbers)
        ids = [self._identity(attach, ask) for attach, _, ask in self.effects if _id(ask)]
        assert len(set(ids)) == len(ids)

    def _identity(self, attach: str, ask: Ask) -> tuple[str, str | int | None]:
        by, id = self.by_attach[attach].by, _id(ask)
        return (by.user if len(str(id)) >= GLOBAL_ID else by.session), id

    @invariant()
    def in_the_order_in_which_it_was_asked(self) -> None:
        for attach in self.by_attach:
            numbers = [n for by, n, _ in self.effects if by == attach]
            assert numbers == sorted(numbers)

    @invariant()
    def who_was_told_that_it_has_left_is_not_here(self) -> None:
        for attach, lane in self.by_attach.items():
            here = self.members.get(lane.by.session)
            if here is None or here.attach != attach:
                continue
            assert not isinstance(lane.told.get(1), Denied)
            exits = [n for n, ask in lane.asks.items() if isinstance(ask, Exit)]
            assert not any(isinstance(lane.told.get(n), Accepted) for n in exits)


def _id(ask: Ask) -> str | int | None:
    return ask.id if isinstance(ask, Say) else None


TestDecided = Decided.TestCase
TestDecided.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
