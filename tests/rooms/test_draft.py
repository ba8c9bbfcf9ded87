"""The next block: numbered without holes, whole or not at all, never too large."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful_protocol.blocks import Audience, Block, Entered, Exited, Member
from roomful_rooms.draft import SAMPLE, TURN_BYTES, Draft, TooMuch, give
from roomful_rooms.effects import Gone, Tell, Turn
from roomful_rooms.presence import LISTED

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


# -- numbers ---------------------------------------------------------------------------------------


def test_a_turn_is_told_the_seq_of_its_first_event() -> None:
    draft = Draft("lobby", 5)
    assert add(draft, says("a", "b")) == 5
    assert add(draft, Turn()) is None
    assert add(draft, says("c")) == 7
    assert [frame["data"] for frame in frames(draft)] == ["a", "b", "c"]


def test_joins_and_leaves_next_to_each_other_share_an_entry() -> None:
    draft = Draft("lobby", 1)
    assert add(draft, joins("ann"), 1) is None
    add(draft, joins("bob"), 2)
    add(draft, leaves("cat"), 1)
    assert draft.last == 1
    assert add(draft, says("hi")) == 2
    add(draft, leaves("ann"), 0)
    one, _, other = frames(draft)
    assert named(one) == (["ann", "bob"], ["cat"], 1)
    assert named(other) == ([], ["ann"], 0)


def test_who_comes_and_goes_twice_is_told_in_order() -> None:
    draft = Draft("lobby", 1)
    for turn, count in ((joins("ann"), 1), (leaves("ann"), 0), (joins("ann"), 1)):
        add(draft, turn, count)
    assert [named(frame) for frame in frames(draft)] == [
        (["ann"], [], 1), ([], ["ann"], 0), (["ann"], [], 1),
    ]  # fmt: skip


def test_a_join_with_an_event_of_its_own_comes_before_it() -> None:
    draft = Draft("lobby", 1)
    welcome = joins("ann")
    welcome.tells = says("welcome").tells
    assert add(draft, welcome) == 2
    assert [frame["type"] for frame in frames(draft)] == ["presence", "chat.message"]


def test_a_move_is_written_but_not_heard() -> None:
    draft = Draft("lobby", 1)
    add(draft, Turn(changes=(Entered(member("ann"), moved=True),)))
    assert draft.effective
    made = block(draft)
    assert made.entries == ()
    assert made.members == (Entered(member("ann"), moved=True),)


def test_after_a_seal_nobody_joins_in_the_same_entry() -> None:
    draft = Draft("lobby", 1)
    draft.seal()
    add(draft, joins("ann"))
    draft.seal()
    draft.seal()
    add(draft, joins("bob"), 2)
    assert [named(frame) for frame in frames(draft)] == [(["ann"], [], 1), (["bob"], [], 2)]


@pytest.mark.parametrize(
    ("turn", "state", "removed"),
    [(says(None), {}, ()), (joins("ann"), {}, ()), (Turn(), {"": None}, ()), (Turn(), {}, ("",))],
)
def test_whatever_is_to_be_written_takes_bytes(
    turn: Turn, state: dict[str, object], removed: tuple[str, ...]
) -> None:
    draft = Draft("lobby", 1)
    assert (draft.bytes, draft.effective) == (0, False)
    draft.add(turn, state, removed, 1, TS)
    assert draft.effective
    assert draft.bytes > 0


def test_in_a_large_room_presence_names_a_sample() -> None:
    draft = Draft("lobby", 1)
    for number in range(30):
        add(draft, joins(f"u{number}"), LISTED + 1)
    (frame,) = frames(draft)
    assert len(frame["data"]["joined"]) == SAMPLE
    assert frame["data"]["joined_count"] == 30
    assert frame["data"]["count"] == LISTED + 1
    assert len(block(draft).members) == 30


def test_ephemeral_events_are_not_written() -> None:
    draft = Draft("lobby", 1)
    assert add(draft, Turn(lives=says("typing").tells)) is None
    assert not draft.effective
    assert frames(draft) == []


def test_everybody_hears_but_the_audience_may_be_smaller() -> None:
    draft = Draft("lobby", 1)
    add(draft, says("psst", audience=Audience(users=("ann",)), sender=member("bob")))
    (entry,) = block(draft).entries
    assert entry.audience == Audience(users=("ann",))
    assert json.loads(entry.frame)["from"] == {"user": "bob", "name": "Bob", "session": "s-bob"}


# -- state -----------------------------------------------------------------------------------------


def test_the_last_word_on_a_key_counts() -> None:
    draft = Draft("lobby", 1)
    draft.add(Turn(), {"a": 1, "b": 1}, ("c",), 0, TS)
    draft.add(Turn(), {"c": 2}, ("a",), 0, TS)
    made = block(draft)
    assert made.state == {"b": 1, "c": 2}
    assert made.removed == ("a",)


# -- whole or not at all ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "turn",
    [
        Turn(tells=[Tell("ok.first", 1), Tell("bad.second", float)]),
        Turn(tells=[Tell("ok.first", 1)], reply=object()),
        Turn(tells=[Tell("ok.first", 1), Tell("bad.text", "\ud800")]),
        Turn(tells=[Tell("big.thing", "x" * (TURN_BYTES // 2))] * 2),
        Turn(tells=[Tell("ok.first", 1)], reply="x" * (TURN_BYTES + 1)),
    ],
)
def test_of_a_turn_that_cannot_be_written_nothing_is_taken(turn: Turn) -> None:
    draft, twin = Draft("lobby", 1), Draft("lobby", 1)
    for one in (draft, twin):
        add(one, joins("ann"))
        add(one, says("hi"), a=1)
    turn.changes = joins("bob").changes
    with pytest.raises((TypeError, ValueError)):
        add(draft, turn, b=2)
    assert draft.bytes == twin.bytes
    assert block(draft) == block(twin)


def test_words_that_cannot_be_written_do_not_part_those_who_join_before_and_after() -> None:
    draft = Draft("lobby", 1)
    add(draft, joins("ann"))
    with pytest.raises((TypeError, ValueError)):
        add(draft, says(float))
    add(draft, joins("bob"), count=2)
    [told] = frames(draft)
    assert named(told) == (["ann", "bob"], [], 2)


def test_state_too_large_or_with_an_impossible_key_is_not_taken() -> None:
    draft = Draft("lobby", 1)
    with pytest.raises(TooMuch):
        add(draft, Turn(), big="x" * TURN_BYTES)
    with pytest.raises(ValueError, match="surrogates"):
        add(draft, Turn(), **{"\ud800": 1})
    assert not draft.effective


def test_thousands_of_keys_may_go_at_once_as_long_as_their_names_fit_a_block() -> None:
    draft = Draft("lobby", 1)
    keys = [f"vote:{number}" for number in range(10_000)]
    assert draft.add(Turn(), {}, keys, 1, TS) is None
    assert draft.effective
    assert draft.bytes > len("".join(keys))
    with pytest.raises(TooMuch):
        draft.add(Turn(), {}, [key * 10 for key in keys], 1, TS)
    assert sorted(block(draft).removed) == sorted(keys)


def test_words_reply_and_state_are_too_much_together() -> None:
    draft, third = Draft("lobby", 1), "x" * (TURN_BYTES // 3)
    with pytest.raises(TooMuch):
        add(draft, Turn(tells=[Tell("ok.word", third)], reply=third), big=third)
    assert not draft.bytes
    assert add(draft, Turn(tells=[Tell("ok.word", third)], reply=third)) == 1


def test_a_reply_that_is_too_much_is_counted_in_what_is_said_of_it() -> None:
    with pytest.raises(TooMuch, match=rf"at most {TURN_BYTES} bytes; this is {TURN_BYTES + 5}\."):
        add(Draft("lobby", 1), Turn(reply="x" * TURN_BYTES))


# -- in any order ----------------------------------------------------------------------------------


@st.composite
def turn_lists(draw: st.DrawFn) -> list[Turn]:
    """Joins, leaves and words that a room could have: nobody joins twice."""
    turns, here = list[Turn](), set[str]()
    for name in draw(st.lists(st.sampled_from(["ann", "bob", "cat", ""]), max_size=12)):
        words = says(*draw(st.lists(st.booleans(), max_size=2)))
        if name and name in here:
            words.changes = (Gone(member(name), "left"),)
        elif name:
            words.changes = (Entered(member(name)),)
        here ^= {name} - {""}
        turns.append(words)
    return turns


@given(turn_lists(), st.integers(1, 50))
def test_the_events_tell_what_the_members_record_says(turns: list[Turn], first: int) -> None:
    draft, here, seqs = Draft("lobby", first), set[str](), list[tuple[int | None, int]]()
    for turn in turns:
        for change in turn.changes:
            here ^= {change.member.user}
        seqs.append((draft.add(turn, {}, (), len(here), TS), len(turn.tells)))
    seen, told = set[str](), dict[int, object]()
    for frame in frames(draft):
        told[frame["seq"]] = frame["type"]
        if frame["type"] == "presence":
            joined, left, count = named(frame)
            assert not set(joined) & set(left)
            seen = (seen | set(joined)) - set(left)
            assert len(seen) == count
    assert seen == here
    stored = set[str]()
    for record in block(draft).members:
        match record:
            case Entered(one):
                stored.add(one.session)
            case Exited(session):
                stored.discard(session)
    assert stored == {f"s-{name}" for name in here}
    for seq, count in seqs:
        assert (seq is None) == (count == 0)
        assert all(told[(seq or 0) + i] == "chat.message" for i in range(count))


def test_give_logs_what_an_asker_raises(logged: list[dict[str, object]]) -> None:
    give(lambda _: 1 / 0, None)  # type: ignore[arg-type]
    assert [one["event"] for one in logged] == ["room.asker_failed"]
