"""What is decided once stays decided: numbers, ids, ghosts, repeats, bounds, and rebuilding."""

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from roomful_protocol.blocks import Done, Member
from roomful_protocol.errors import Code
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
from roomful_rooms import ledger as module
from roomful_rooms.ledger import GLOBAL_ID, Ledger

ENTER = Enter(NEW, None)
UUID = "0123456789abcdef"


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


# -- numbers ---------------------------------------------------------------------------------------


def test_the_next_number_is_carried_out_a_repeat_is_answered_and_a_hole_is_not_taken() -> None:
    ledger, ann = Ledger(), sender()
    assert verdict(ledger, command(ann, say(), 1)) is None
    ledger.record(done(ann, 1, seq=7, data={"x": 1}))
    assert verdict(ledger, command(ann, say(), 1)) == Accepted(7, {"x": 1}, duplicate=True)
    assert verdict(ledger, command(ann, say(), 2, base=1)) is None
    assert verdict(ledger, command(ann, say(), 3, base=1)) == MOVED


def test_the_base_lets_a_new_owner_skip_what_was_answered_without_a_trace() -> None:
    assert verdict(Ledger(), command(sender(), say(), 9, base=9)) is None
    assert verdict(Ledger(), command(sender(), say(), 9, base=8)) == MOVED


def test_a_refusal_is_repeated_as_a_refusal() -> None:
    ledger, ann = Ledger(), sender()
    ledger.record(done(ann, 1, seq=None, denied=("forbidden", "No.")))
    assert verdict(ledger, command(ann, say(), 1)) == Denied("forbidden", "No.")


def test_what_has_no_number_is_never_a_repeat() -> None:
    ledger, ann = Ledger(), sender()
    ledger.record(done(ann, 3))
    assert verdict(ledger, command(ann, say())) is None


# -- ids -------------------------------------------------------------------------------------------


def test_an_id_is_its_sessions_and_a_long_one_its_users() -> None:
    ledger, here, there = Ledger(), sender("s1", "a1"), sender("s2", "a2")
    ledger.record(done(here, 1, seq=7, id="1"))
    ledger.record(done(here, 2, seq=8, id=UUID))
    assert len(UUID) == GLOBAL_ID
    assert verdict(ledger, command(here, say("1"), 3)) == Accepted(7, duplicate=True)
    assert verdict(ledger, command(there, say("1"), 1)) is None
    assert verdict(ledger, command(there, say(UUID), 1)) == Accepted(8, duplicate=True)
    stranger = sender("s3", "a3", "bob")
    assert verdict(ledger, command(stranger, say(UUID), 1)) is None


def test_a_number_as_id_is_not_the_string_that_looks_like_it() -> None:
    ledger, ann = Ledger(), sender()
    ledger.record(done(ann, 1, id=1))
    assert verdict(ledger, command(ann, say("1"), 2)) is None
    assert verdict(ledger, command(ann, say(1), 2)) is not None


def test_a_refused_id_may_be_tried_again() -> None:
    ledger, ann = Ledger(), sender()
    ledger.record(done(ann, 1, seq=None, id=UUID, denied=("busy", "Later.")))
    assert verdict(ledger, command(ann, say(UUID), 2)) is None


def test_a_repeated_id_takes_up_its_number_so_that_the_next_need_not_wait() -> None:
    ledger, ann = Ledger(), sender()
    ledger.record(done(ann, 1, seq=7, id=UUID))
    again = command(ann, say(UUID), 2, base=1)
    answer = verdict(ledger, again)
    assert answer == Accepted(7, duplicate=True)
    record = done(ann, 2, seq=7)
    assert ledger.renumbered(again, Accepted(7, duplicate=True)) == record
    ledger.record(record)
    assert verdict(ledger, command(ann, say(), 3, base=1)) is None
    assert ledger.renumbered(again, Accepted(7, duplicate=True)) is None
    assert ledger.renumbered(command(ann, say(), 4), MOVED) is None


# -- attachments -----------------------------------------------------------------------------------


def test_after_a_session_has_moved_its_old_gateway_is_a_ghost() -> None:
    ledger, old, new = Ledger(), sender(attach="a1"), sender(attach="a2")
    ledger.record(done(old, 5))
    assert verdict(ledger, command(new, ENTER, 1)) is None
    ledger.record(done(new, 1))
    ghost = ledger.verdict(command(old, say(), 6), member(new))
    assert isinstance(ghost, Denied)
    assert ghost.code == Code.NOT_JOINED.slug
    assert isinstance(ledger.verdict(command(old, ENTER, 6), member(new)), Denied)
    assert verdict(ledger, command(new, say(), 2)) is None


def test_a_ghost_that_was_forgotten_still_cannot_speak_for_the_session() -> None:
    """Nor take it over: only entering moves a session."""
    new = sender(attach="a2")
    for ask in (say(), Exit()):
        ghost = Ledger().verdict(command(sender(attach="a1"), ask, 6), member(new))
        assert isinstance(ghost, Denied)
        assert ghost.code == Code.NOT_JOINED.slug


def test_so_many_ghosts_of_one_session_are_known() -> None:
    ledger = Ledger()
    for number in range(30):
        ledger.attach("s1", f"a{number}")
    known = [number for number in range(30) if ledger.superseded("s1", f"a{number}")]
    assert known == list(range(21, 29))


def test_a_repeated_join_is_welcomed_anew_only_while_it_holds() -> None:
    ledger, ann = Ledger(), sender()
    ledger.record(done(ann, 1))
    assert ledger.verdict(command(ann, ENTER, 1), member(ann)) is None
    ledger.record(done(ann, 2))
    left = ledger.verdict(command(ann, ENTER, 1), None)
    assert isinstance(left, Denied)
    assert left.code == Code.NOT_JOINED.slug


def test_a_repeated_join_that_was_refused_is_refused_though_there_were_place_now() -> None:
    ledger, ann = Ledger(), sender()
    ledger.record(done(ann, 1, seq=None, denied=("room_full", "Full.")))
    assert ledger.verdict(command(ann, ENTER, 1), None) == Denied("room_full", "Full.")


# -- bounds, and what survives them ----------------------------------------------------------------


def test_old_decisions_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 4)
    ledger, ann = Ledger(), sender()
    for n in range(1, 101):
        ledger.record(done(ann, n, seq=n, id=f"id-{n}"))
    kept = [one.n for one in ledger]
    assert kept == [97, 98, 99, 100]
    assert verdict(ledger, command(ann, say("id-96"), 101)) is None
    assert verdict(ledger, command(ann, say("id-97"), 101)) == Accepted(97, duplicate=True)
    # Its number says that it was decided, though no longer how.
    assert verdict(ledger, command(ann, say(), 96)) == Accepted(duplicate=True)


def test_sessions_that_were_silent_for_longest_are_forgotten_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LINKS", 3)
    ledger = Ledger()
    for name in ("s1", "s2", "s3", "s1", "s4"):
        ledger.attach(name, name)
    assert [ledger.link(name, name) is not None for name in ("s1", "s2", "s3", "s4")] == [
        True, False, True, True,
    ]  # fmt: skip


def test_numbers_outlive_the_decisions_across_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 4)
    ledger, quiet, loud = Ledger(), sender("s1", "a1"), sender("s2", "a2", "bob")
    for n in range(1, 6):
        ledger.record(done(quiet, n))
    for n in range(1, 51):
        ledger.record(done(loud, n))
    rebuilt = Ledger(list(ledger.kept(["s1", "s2"])))
    for n in range(1, 8):
        asked = command(quiet, say(), n, base=n)
        assert verdict(rebuilt, asked) == verdict(ledger, asked)
    assert verdict(rebuilt, command(quiet, say(), 5)) == Accepted(duplicate=True)
    assert verdict(rebuilt, command(loud, say(), 50)) == Accepted(1, duplicate=True)


# -- against a model -------------------------------------------------------------------------------


@dataclass
class Lane:
    """A gateway's numbering of one attachment, and what it was told of each number."""

    by: Sender
    last: int = 0
    asks: dict[int, Ask] = field(default_factory=dict)
    told: dict[int, Answer] = field(default_factory=dict)

    def ask(self, ask: Ask) -> int:
        self.last += 1
        self.asks[self.last] = ask
        return self.last

    def command(self, n: int) -> Command:
        base = next(one for one in range(1, self.last + 2) if one not in self.told)
        return command(self.by, self.asks[n], n, min(base, n))


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
        self.snapshot: list[Done] = []
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
        if owner != self.owner:
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
        self.snapshot = list(self.ledger.kept(self.members))
        self.blocks = []
        self.riding = []

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
                assert key not in self.seqs
                assert key in self.refused or "goes on" in message
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
