"""A client without sockets: what it sends, when, and what it makes of the answers."""

from itertools import count
from json import loads
from typing import Any

import pytest

from roomful_client.asks import ATTEMPTS
from roomful_client.errors import RoomfulError
from roomful_client.state import Outcome, Settled, State

LIMITS = {"message_bytes": 1000, "messages_per_s": 50, "burst": 100, "rooms": 128}


def client(**options: Any) -> State:
    ids = (f"id-{n:016}" for n in count(1))
    return State(lambda: next(ids), lambda: 1.0, **options)


def greet(state: State, now: float = 0, **limits: int) -> None:
    hello = {
        "session": "s1", "secret": "x", "user": "ann", "name": "Ann", "heartbeat_s": 25,
        "limits": LIMITS | limits,
    }  # fmt: skip
    state.hear({"type": "hello", "data": hello}, now)


def sent(state: State, now: float = 0) -> list[dict[str, Any]]:
    return [loads(data) for data in state.due(now)]


def let_in(state: State, room: str = "lobby", seq: int = 0) -> None:
    """Have the node answer the join that is due."""
    [join] = [frame for frame in sent(state) if frame["type"] == "join"]
    data = {"epoch": "e1", "seq": seq, "recovered": True, "gap": None, "members": [], "count": 1}
    state.hear({"type": "joined", "id": join["id"], "room": room, "data": data}, 0)


def in_lobby(**limits: int) -> State:
    state = client()
    greet(state, **limits)
    state.join("lobby", "new", None)
    let_in(state)
    return state


def say(state: State, n: int = 0) -> str:
    return state.ask({"type": "a.b", "room": "lobby", "data": n})


def error(id: str, code: str, *, retry: bool = False, **more: object) -> dict[str, Any]:
    body = {"code": code, "message": "No.", "retry": retry, **more}
    return {"type": "error", "id": id, "room": "lobby", "error": body}


def refusals(outcomes: list[Outcome]) -> dict[str, str]:
    return {
        one.id: one.answer.code
        for one in outcomes
        if isinstance(one, Settled) and isinstance(one.answer, RoomfulError)
    }


def test_nothing_is_sent_before_hello_nor_said_before_joined() -> None:
    state = client()
    state.join("lobby", 42, "e1")
    say(state)
    assert sent(state) == []
    greet(state)
    [join] = sent(state)
    assert join | {"id": 0} == {
        "type": "join", "id": 0, "room": "lobby", "since": 42, "epoch": "e1",
    }  # fmt: skip
    assert state.awaits


def test_what_was_said_is_settled_by_its_answer() -> None:
    state = in_lobby()
    first, second = say(state, 1), say(state, 2)
    assert [frame["id"] for frame in sent(state)] == [first, second]
    ack = {"type": "ack", "id": second, "room": "lobby", "seq": 7}
    assert state.hear(ack, 0) == [Settled(second, ack)]
    assert refusals(state.hear(error(first, "forbidden"), 0)) == {first: "forbidden"}
    assert not state.awaits
    assert state.hear(ack, 0)[:0] == []


def test_unanswered_is_sent_again_in_order_under_the_same_ids_after_the_join() -> None:
    state = in_lobby()
    ids = [say(state, n) for n in range(3)]
    sent(state)
    state.hear({"type": "ack", "id": ids[1], "room": "lobby"}, 0)
    ids.append(say(state, 3))
    state.lost(1, 1006, "")
    assert sent(state) == []
    greet(state)
    let_in(state)
    assert [frame["id"] for frame in sent(state)] == [ids[0], ids[2], ids[3]]


def test_reads_and_targeted_messages_need_no_room() -> None:
    state = client()
    id = state.ask({"type": "a.b", "to": {"user": "bob"}})
    greet(state)
    assert [frame["id"] for frame in sent(state)] == [id]


def test_a_refusal_that_passes_is_tried_again_and_holds_back_the_rest_of_its_room() -> None:
    state = in_lobby()
    first, second = say(state, 1), say(state, 2)
    sent(state)
    assert state.hear(error(first, "busy", retry=True, retry_after_ms=2000), 0) == []
    state.hear({"type": "ack", "id": second, "room": "lobby"}, 0)
    third, elsewhere = say(state, 3), state.ask({"type": "a.b", "to": {"user": "bob"}})
    assert [frame["id"] for frame in sent(state, 1)] == [elsewhere]
    assert state.wake_at == 2
    assert [frame["id"] for frame in sent(state, 2)] == [first, third]


def test_a_refusal_that_does_not_pass_is_told_in_the_end() -> None:
    state = in_lobby()
    id = say(state)
    told = []
    for attempt in range(ATTEMPTS):
        assert len(sent(state, 100 * attempt)) == 1
        told += state.hear(error(id, "unavailable", retry=True), 100 * attempt)
    assert refusals(told) == {id: "unavailable"}
    assert sent(state, 100 * ATTEMPTS) == []


def test_a_node_that_has_lost_us_is_joined_again_before_the_message() -> None:
    state = in_lobby()
    id = say(state)
    sent(state)
    assert state.hear(error(id, "not_joined"), 0) == []
    let_in(state)
    assert [frame["id"] for frame in sent(state)] == [id]
    state.hear(error(id, "not_joined"), 0)
    let_in(state)
    sent(state)
    state.hear(error(id, "not_joined"), 0)
    let_in(state)
    sent(state)
    assert refusals(state.hear(error(id, "not_joined"), 0)) == {id: "not_joined"}


def test_it_stays_below_the_limits_of_the_node() -> None:
    state = in_lobby(messages_per_s=10, burst=10)
    for n in range(30):
        say(state, n)
    at_once = sent(state)
    assert 1 <= len(at_once) <= 8
    assert state.wake_at is not None
    assert state.wake_at > 0
    later = sent(state, 1)
    assert len(later) == 8
    data = [frame["data"] for frame in at_once + later]
    assert data == list(range(len(data)))


def test_what_the_node_would_not_take_is_not_sent() -> None:
    state = in_lobby()
    with pytest.raises(RoomfulError, match="bytes") as caught:
        state.ask({"type": "a.b", "room": "lobby", "data": "x" * 1000})
    assert caught.value.code == "too_big"
    with pytest.raises(ValueError, match="JSON"):
        state.ask({"type": "a.b", "room": "lobby", "data": object()})
    with pytest.raises(RoomfulError, match="was left"):
        state.ask({"type": "a.b", "room": "kitchen"})


def test_too_much_is_refused_at_once() -> None:
    state = client(waiting=2)
    state.ask({"type": "a.b", "to": {"user": "bob"}})
    id = state.ask({"type": "a.b", "to": {"user": "bob"}})
    with pytest.raises(RoomfulError) as caught:
        state.ask({"type": "a.b", "to": {"user": "bob"}})
    assert caught.value.code == "queue_full"
    assert caught.value.retry
    state.asks.forget(id)
    assert state.ask({"type": "a.b", "to": {"user": "bob"}})


def test_one_id_is_under_way_once() -> None:
    state = in_lobby()
    state.ask({"type": "a.b", "room": "lobby"}, id="my-own-identifier")
    with pytest.raises(RoomfulError, match="under way"):
        state.ask({"type": "a.b", "room": "lobby"}, id="my-own-identifier")


def test_signals_go_now_or_never() -> None:
    state = client()
    state.join("lobby", "new", None)
    signal: dict[str, object] = {"type": "a.b", "room": "lobby", "ephemeral": True}
    assert not state.signal(signal, 0)
    greet(state)
    assert not state.signal(signal, 0)
    let_in(state)
    assert state.signal(signal, 0)
    state.lost(0, 1006, "")
    greet(state)
    let_in(state)
    assert sent(state) == []


def test_leaving_is_said_also_after_a_lost_connection() -> None:
    state = in_lobby()
    waiting = say(state)
    id, outcomes = state.leave("lobby")
    assert id is not None
    assert refusals(outcomes) == {waiting: "left"}
    state.lost(0, 1006, "")
    greet(state)
    assert [(frame["type"], frame["id"]) for frame in sent(state)] == [("leave", id)]
    left = {"type": "left", "id": id, "room": "lobby"}
    assert state.hear(left, 0) == [Settled(id, left)]
    assert state.leave("lobby") == (None, [])


def test_joining_again_waits_for_a_leave_that_is_under_way() -> None:
    state = in_lobby()
    id, _ = state.leave("lobby")
    assert id is not None
    assert [frame["type"] for frame in sent(state)] == ["leave"]
    state.join("lobby", "new", None)
    assert sent(state) == []
    state.lost(0, 1006, "")
    greet(state)
    assert [frame["type"] for frame in sent(state)] == ["leave"]
    state.hear({"type": "left", "id": id, "room": "lobby"}, 0)
    assert [frame["type"] for frame in sent(state)] == ["join"]


def test_being_put_out_refuses_what_waits_for_the_room() -> None:
    state = in_lobby()
    id, other = say(state), state.ask({"type": "a.b", "to": {"user": "bob"}})
    assert refusals(state.hear({"type": "left", "room": "lobby"}, 0)) == {id: "kicked"}
    assert other in state.asks
    assert state.places == {}


def test_it_stops_reading_for_a_reader_that_is_behind_unless_an_answer_is_due() -> None:
    state = client(capacity=2)
    greet(state)
    place = state.join("lobby", "new", None)
    let_in(state)
    for seq in (1, 2):
        state.hear({"type": "a.b", "room": "lobby", "seq": seq, "ts": 1}, 0)
    assert not state.blocked, "nobody reads it"
    place.followed = True
    assert state.blocked
    id = say(state)
    assert not state.blocked
    state.asks.forget(id)
    place.take()
    assert not state.blocked


def test_the_end_tells_everybody() -> None:
    state = in_lobby()
    id = say(state)
    assert state.lost(0, 4501, "kicked out") is None
    outcomes = state.end(RoomfulError("closed", "closed"))
    assert refusals(outcomes) == {id: "kicked"}
    place = state.places["lobby"]
    assert place.ending is not None
    assert place.ending.code == "kicked"
    with pytest.raises(RoomfulError):
        say(state)


def test_messages_from_outside_rooms_are_bounded_by_forgetting_the_oldest() -> None:
    state = client(capacity=2)
    greet(state)
    for n in range(5):
        state.hear({"type": "a.b", "data": n}, 0)
    assert [message.data for message in state.direct] == [3, 4]


@pytest.mark.parametrize(
    "frame", [{"type": "pong", "data": {}}, {"type": "lagging", "data": {}}, {"type": "new"}]
)
def test_what_it_does_not_know_changes_nothing(frame: dict[str, Any]) -> None:
    state = in_lobby()
    assert state.hear(frame, 0) == []
