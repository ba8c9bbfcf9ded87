"""How far a client has heard a room: joins, doubles, holes, gaps, a reader that is behind."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful_client.events import Gap, Message, Presence
from roomful_client.place import HEALINGS, Place

ANN = {"user": "ann", "name": "Ann", "session": "s1"}
BOB = {"user": "bob", "name": "Bob", "session": "s2"}


def place(since: int | str = "new", epoch: str | None = None, capacity: int = 100) -> Place:
    return Place("lobby", since, epoch, capacity, chance=lambda: 1.0)


def welcome(
    at: Place, seq: int, *, epoch: str = "e1", gap: dict[str, Any] | None = None
) -> dict[str, object]:
    """Ask to join and be let in; the frame that asked."""
    asked = at.join("j1")
    data = {
        "epoch": epoch, "seq": seq, "recovered": gap is None, "gap": gap, "members": [ANN],
        "count": 1,
    }  # fmt: skip
    at.hear({"type": "joined", "id": "j1", "room": "lobby", "data": data}, 0)
    return asked


def joined(since: int | str = "new", seq: int = 0, capacity: int = 100) -> Place:
    at = place(since, capacity=capacity)
    welcome(at, seq)
    return at


def event(seq: int | None, prev: int | None = None) -> dict[str, Any]:
    frame: dict[str, Any] = {"type": "chat.message", "room": "lobby", "data": seq}
    if seq is not None:
        frame |= {"seq": seq, "ts": 1}
    return frame if prev is None else frame | {"prev": prev}


def hear(at: Place, *seqs: int) -> None:
    for seq in seqs:
        at.hear(event(seq), 0)


def taken(at: Place) -> list[object]:
    """What waits to be read: data of messages, others as they are."""
    return [one.data if isinstance(one, Message) else one for one in at.inbox]


@pytest.mark.parametrize(("since", "position"), [("new", 57), ("last:5", None), (0, 0), (42, 42)])
def test_position_after_joining(since: int | str, position: int | None) -> None:
    at = place(since)
    assert welcome(at, 57)["since"] == since
    assert at.position == position
    assert at.joined
    assert at.listening


def test_position_moves_with_events_and_is_asked_for_again() -> None:
    at = joined("last:2", 57)
    hear(at, 56, 57, 58)
    at.lost()
    assert not at.joined
    asked = at.join("j2")
    assert (asked["since"], asked["epoch"]) == (58, "e1")


def test_last_few_are_asked_for_again_before_the_first_event() -> None:
    at = joined("last:2", 57)
    at.lost()
    assert at.join("j2")["since"] == "last:2"


def test_doubles_are_dropped() -> None:
    at = joined()
    hear(at, 1, 2, 2, 1, 3)
    assert taken(at) == [1, 2, 3]


def test_hole_leads_to_a_join_from_before_it() -> None:
    at = joined()
    hear(at, 1, 3, 4)
    assert taken(at) == [1]
    assert at.wants_join
    assert at.joined, "what is sent meanwhile need not wait"
    assert welcome(at, 4)["since"] == 1
    hear(at, 2, 3, 4)
    assert taken(at) == [1, 2, 3, 4]


def test_prev_tells_a_hole_from_what_was_for_others() -> None:
    at = joined()
    at.hear(event(5, prev=0), 0)
    at.hear(event(9, prev=5), 0)
    assert taken(at) == [5, 9]
    at.hear(event(12, prev=10), 0)
    assert taken(at) == [5, 9]
    assert at.wants_join


def test_hole_that_stays_becomes_a_gap() -> None:
    at = joined()
    for _ in range(HEALINGS):
        hear(at, 4)
        assert taken(at) == []
        welcome(at, 4)
    hear(at, 4)
    assert taken(at) == [Gap("lobby", 1, 3, "unrecovered"), 4]


@pytest.mark.parametrize(
    ("epoch", "gap", "position"),
    [
        ("e1", {"from": 11, "to": 40, "reason": "retention"}, 40),
        ("e1", {"from": 4, "to": 10, "reason": "lost"}, 3),
        ("e2", {"from": 11, "to": 11, "reason": "epoch"}, 3),
    ],
)
def test_gap_at_the_join(epoch: str, gap: dict[str, Any], position: int) -> None:
    at = place(10, "e1")
    welcome(at, 50 if gap["reason"] == "retention" else 3, epoch=epoch, gap=gap)
    assert taken(at) == [Gap("lobby", gap["from"], gap["to"], gap["reason"])]
    assert (at.position, at.epoch) == (position, epoch)
    hear(at, position + 1)
    assert taken(at)[1:] == [position + 1]


def test_gap_in_the_course_of_things() -> None:
    at = joined()
    data = {"from": 1, "to": 9, "reason": "retention"}
    at.hear({"type": "gap", "room": "lobby", "data": data}, 0)
    hear(at, 10)
    assert taken(at) == [Gap("lobby", 1, 9, "retention"), 10]


def test_gap_after_which_numbers_start_over() -> None:
    at = joined()
    hear(at, 1, 2, 3)
    data = {"from": 4, "to": 1, "reason": "lost", "epoch": "e2"}
    at.hear({"type": "gap", "room": "lobby", "data": data}, 0)
    hear(at, 2)
    assert taken(at) == [1, 2, 3, Gap("lobby", 4, 1, "lost"), 2]
    assert (at.position, at.epoch) == (2, "e2")


def test_nothing_is_taken_between_loss_and_join() -> None:
    at = joined()
    hear(at, 1)
    at.lost()
    hear(at, 2)
    assert welcome(at, 2)["since"] == 1
    hear(at, 2)
    assert taken(at) == [1, 2]


def test_answers_to_older_joins_are_not_taken() -> None:
    at = place()
    at.join("old")
    at.lost()
    at.join("new")
    at.hear({"type": "joined", "id": "old", "room": "lobby", "data": {}}, 0)
    at.hear({"type": "joined", "room": "lobby", "data": {}}, 0)
    assert not at.joined


def test_ephemeral_events_have_no_place_in_the_order() -> None:
    at = joined()
    at.hear(event(None), 0)
    assert taken(at) == [None]
    assert at.position == 0


def test_full_inbox_takes_nothing_and_asks_for_it_when_it_was_read() -> None:
    at = joined(capacity=4)
    hear(at, 1, 2, 3, 4, 5, 6)
    at.hear(event(None), 0)
    assert taken(at) == [1, 2, 3, 4]
    assert not at.wants_join
    assert [at.take(), at.take()]
    assert at.wants_join
    assert welcome(at, 6)["since"] == 4
    hear(at, 5, 6)
    assert taken(at) == [3, 4, 5, 6]


def test_full_inbox_does_not_keep_out_of_the_room() -> None:
    at = joined(capacity=2)
    hear(at, 1, 2, 3)
    at.lost()
    assert at.wants_join
    welcome(at, 3)
    assert at.joined
    hear(at, 3)
    assert taken(at) == [1, 2]
    at.take()
    assert at.wants_join


def test_members_follow_presence_past_the_join() -> None:
    at = joined("last:9", 7)
    presence = {"type": "presence", "room": "lobby", "ts": 1}
    old = {"joined": [BOB], "left": [], "count": 2}
    at.hear({**presence, "seq": 7, "data": old}, 0)
    assert set(at.members) == {"s1"}, "joined.members knew better"
    at.hear({**presence, "seq": 8, "data": {"joined": [BOB], "left": [ANN], "count": 1}}, 0)
    assert set(at.members) == {"s2"}
    assert at.count == 1
    assert all(isinstance(one, Presence) for one in at.inbox)


@pytest.mark.parametrize(
    ("code", "retry", "entered", "over"),
    [
        ("forbidden", False, False, True),
        ("forbidden", False, True, True),
        ("busy", True, False, False),
        ("room_full", True, False, True),
        ("room_full", True, True, False),
    ],
)
def test_refused_joins(code: str, retry: bool, entered: bool, over: bool) -> None:
    at = joined() if entered else place()
    at.lost()
    at.join("j2")
    error = {"code": code, "message": "No.", "retry": retry}
    at.hear({"type": "error", "id": "j2", "room": "lobby", "error": error}, now=100)
    assert (at.ending is not None) == over
    assert at.wants_join != over
    assert over or at.not_before == 100.5


def test_errors_that_answer_something_else_do_not_end_a_join() -> None:
    at = place()
    error = {"code": "forbidden", "message": "No.", "retry": False}
    at.hear({"type": "error", "room": "lobby", "error": error}, 0)
    at.join("j1")
    at.hear({"type": "error", "id": "other", "room": "lobby", "error": error}, 0)
    assert at.ending is None


def test_being_put_out() -> None:
    at = joined()
    at.hear({"type": "left", "id": "mine", "room": "lobby"}, 0)
    assert at.ending is None
    at.hear({"type": "left", "room": "lobby"}, 0)
    assert at.ending is not None
    assert at.ending.code == "kicked"
    assert not at.wants_join


# -- a node with a lossy wire, and a client that loses nothing -------------------------------------


def served(log: list[int], after: int) -> list[dict[str, Any]]:
    """What a node sends of `log` (the seqs that are for this client), `prev` where it needs one."""
    frames, before = [], after
    for seq in log:
        if seq > after:
            frames.append(event(seq, None if before == seq - 1 else before))
            before = seq
    return frames


_fates = st.lists(st.sampled_from(["hear", "hear", "hear", "drop", "double", "cut"]), max_size=60)


@given(st.sets(st.integers(1, 25)), _fates, st.integers(2, 6))
def test_every_event_once_in_order_over_any_wire(
    visible: set[int], fates: list[str], capacity: int
) -> None:
    log, at, read = sorted(visible), place(0, capacity=capacity), list[object]()
    wire: list[dict[str, Any]] = []
    for fate in [*fates, *["hear"] * 400]:
        if at.wants_join:
            after = welcome(at, 25)["since"]
            assert isinstance(after, int)
            wire = served(log, after)
        elif fate == "cut":
            at.lost()
        elif wire:
            frame = wire.pop(0)
            for _ in range({"hear": 1, "drop": 0, "double": 2}[fate]):
                at.hear(frame, 0)
        if len(at.inbox) == capacity or not wire:
            read += [at.take().data for _ in range(len(at.inbox))]  # type: ignore[union-attr]
    lost_at_the_end = log[len(read) :]
    assert read == log[: len(read)]
    assert not lost_at_the_end or "drop" in fates
