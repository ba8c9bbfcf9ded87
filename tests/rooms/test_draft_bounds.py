"""No block is too large for the broker, and what waits for one is bounded."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from roomful_protocol.blocks import Block, Done, Entered, Member
from roomful_protocol.codecs.stored import pack_block
from roomful_rooms.draft import CARRIED, FULL_BYTES, TURN_BYTES, Draft
from roomful_rooms.effects import Gone, Tell, Turn

BROKERS_LIMIT = 1_000_000
TS = 1_800_000_000_000


BROKERS_LIMIT = 1_000_000
TS = 1_800_000_000_000


def member(name: str) -> Member:
    return Member(f"s-{name}", name, name.title(), "n1", f"a-{name}")


def joins(*names: str) -> Turn:
    return Turn(changes=tuple([Entered(member(name)) for name in names]))


def leaves(*names: str) -> Turn:
    return Turn(changes=tuple([Gone(member(name), "left") for name in names]))


def says(*data: object, **rest: Any) -> Turn:
    return Turn(tells=[Tell("chat.message", one, **rest) for one in data])


def add(draft: Draft, turn: Turn, count: int = 1, **state: Any) -> int | None:
    return draft.add(turn, state, (), count, TS)


def block(draft: Draft) -> Block:
    return draft.block(term=1, writer="w", number=1, epoch="e", ts=TS, count=0)


def frames(draft: Draft) -> list[dict[str, Any]]:
    """What clients see; checked to be numbered without a hole."""
    made = block(draft)
    assert [one.seq for one in made.entries] == list(range(made.first, made.last + 1))
    assert made.last == draft.last
    found = [json.loads(one.frame) for one in made.entries]
    assert [frame["seq"] for frame in found] == [one.seq for one in made.entries]
    return found


def named(frame: dict[str, Any]) -> tuple[list[str], list[str], int]:
    data = frame["data"]
    return (
        [one["user"] for one in data["joined"]],
        [one["user"] for one in data["left"]],
        data["count"],
    )


LONG = "\U0001f600" * 128
CONTROL = "\x01" * 128


@dataclass(frozen=True)
class Flood:
    """Something that many ask for while one append hangs."""

    name: str
    member: Member
    moved: bool = False
    reply: object = None
    refusal: str | None = None


FLOODS = [
    Flood("joins", member("ann")),
    Flood("long names", Member("s", LONG, LONG, "n1", "a")),
    Flood("control characters", Member("s", CONTROL, CONTROL, "n1", "a")),
    Flood("moves", member("ann"), moved=True),
    Flood("replies", member("ann"), moved=True, reply="x" * 9000),
    Flood("refusals", member("ann"), moved=True, refusal="é" * 1000),
]


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.name)
def test_a_full_draft_fits_a_message_of_the_broker(flood: Flood) -> None:
    draft, taken = Draft("lobby", 1), 0
    while not draft.full:
        taken += 1
        one = Member(f"n1-{taken:026d}", *_rest(flood.member))
        add(draft, Turn(changes=(Entered(one, flood.moved),), reply=flood.reply))
        refused = flood.refusal and ("forbidden", flood.refusal)
        decided = Done(
            one.session, one.attach, taken, one.user, None, 1, flood.reply, refused or None
        )
        draft.answer(lambda _: None, lambda: pytest.fail("not now"), decided)
        assert taken < 10_000
    add(draft, says("x" * (TURN_BYTES - 1000)))
    assert len(pack_block(block(draft))) < BROKERS_LIMIT


def _rest(one: Member) -> tuple[str, str, str, str]:
    return one.user, one.name, one.node, "attach123456"


def test_answers_alone_fill_it_too() -> None:
    draft = Draft("lobby", 1)
    for _ in range(FULL_BYTES):
        if draft.full:
            break
        draft.answer(lambda _: None, lambda: pytest.fail("not now"))
    assert draft.full
    assert len(draft.answers) < 3000


# -- decisions -------------------------------------------------------------------------------------


def done(n: int, reply: object = None) -> Done:
    return Done("s1", "a1", n, "ann", None, None, reply)


def test_decisions_without_effect_ride_on_the_next_block() -> None:
    first = Draft("lobby", 1)
    for n in range(1, 4):
        first.decide(done(n))
    second = first.following()
    second.decide(done(4))
    add(second, says("hi"))
    assert [one.n for one in block(second).done] == [1, 2, 3, 4]
    assert second.following().done == []


def test_so_many_are_carried_and_the_newest() -> None:
    draft = Draft("lobby", 1)
    for n in range(1000):
        draft.decide(done(n))
    assert [one.n for one in draft.following().done] == list(range(1000 - CARRIED, 1000))


def test_so_much_is_carried() -> None:
    draft = Draft("lobby", 1)
    for n in range(20):
        draft.decide(done(n, reply="x" * 10_000))
    assert [one.n for one in draft.following().done] == [14, 15, 16, 17, 18, 19]
    draft.decide(done(20, reply="x" * 100_000))
    assert draft.following().done == []
