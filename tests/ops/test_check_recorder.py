"""Frames become a history, whatever the client itself makes of them."""

from itertools import count
from typing import Any

import pytest

from roomful.check.content import Content
from roomful.check.history import (
    Acked,
    Gap,
    GapTold,
    Heard,
    Joined,
    Joining,
    Leaving,
    Left,
    Listed,
    Lost,
    Opened,
    Read,
    Refused,
    Sent,
)
from roomful.check.recorder import NOWHERE, UNASKED, RecordedState, Recorder
from roomful.check.rooms import FAIL

HELLO = {
    "type": "hello",
    "data": {
        "node": "n1", "session": "n1-a", "secret": "s", "user": "ann", "name": "ann",
        "heartbeat_s": 25,
        "limits": {"message_bytes": 65536, "messages_per_s": 50, "burst": 100, "rooms": 128},
    },
}  # fmt: skip
AT = 1.0
PERSON = {"user": "ann", "name": "ann", "session": "n1-a"}


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(lambda: AT, {})


def told(recorder: Recorder, *frames: dict[str, Any]) -> list[object]:
    """The events that these frames of a node add."""
    before = len(recorder.events)
    for frame in frames:
        recorder.heard(frame)
    return list(recorder.events[before:])


def test_a_client_is_watched_in_both_directions(recorder: Recorder) -> None:
    ids = count(1)
    state = RecordedState(recorder, lambda: f"id-{next(ids):016}", lambda: 0.5, "ann")
    state.join("lobby", "last:5", None)
    state.hear(HELLO, 0)
    state.due(0)
    opened, joining = recorder.events
    assert opened == Opened("n1", "n1-a", False, AT)
    assert isinstance(joining, Joining)
    assert (joining.room, joining.since) == ("lobby", "last:5")
    state.lost(0, 1006, "")
    state.lost(0, None, "nobody answers")
    state.hear(HELLO, 0)
    lost, again = recorder.events[2:]
    assert isinstance(lost, Lost)
    assert lost.code == 1006
    assert isinstance(again, Opened)
    assert again.resumed


def test_answers_are_those_to_what_was_asked(recorder: Recorder) -> None:
    recorder.sent({"type": "join", "id": 1, "room": "lobby", "since": 4, "epoch": "e"})
    gap = {"from": 5, "to": 7, "reason": "retention"}
    data = {"epoch": "e", "seq": 9, "recovered": False, "gap": gap, "members": [PERSON], "count": 1}
    joined = {"type": "joined", "id": 1, "room": "lobby", "data": data}
    here = frozenset({"n1-a"})
    assert told(recorder, joined) == [
        Joined("lobby", "e", 4, 9, False, Gap(5, 7, "retention"), here, 1, AT)
    ]
    refused = told(recorder, joined)[0]
    assert isinstance(refused, Refused)
    assert (refused.code, refused.passing) == (UNASKED, False)

    recorder.sent({"type": "members", "id": 2, "room": "lobby"})
    members = {"members": [PERSON], "count": 1, "seq": 9}
    assert told(recorder, {"type": "members", "id": 2, "room": "lobby", "data": members}) == [
        Listed("lobby", 9, here, 1, AT)
    ]
    recorder.sent({"type": "history", "id": 3, "room": "lobby", "before": 9})
    event = {"type": "chat.message", "room": "lobby", "seq": 8, "ts": 1, "data": {"key": "k"}}
    history = {
        "type": "history",
        "id": 3,
        "room": "lobby",
        "data": {"events": [event], "more": True},
    }
    assert told(recorder, history) == [Read("lobby", 9, None, ((8, Content.of(event)),), True, AT)]
    recorder.sent({"type": "leave", "id": 4, "room": "lobby"})
    assert isinstance(recorder.events[-1], Leaving)
    assert told(recorder, {"type": "left", "id": 4, "room": "lobby"}) == [Left("lobby", True, AT)]
    assert told(recorder, {"type": "left", "room": "lobby"}) == [Left("lobby", False, AT)]


def test_messages_go_by_their_keys(recorder: Recorder) -> None:
    said: dict[str, Any] = {
        "type": "chat.message",
        "id": "x",
        "room": "lobby",
        "data": {"key": "k"},
    }
    recorder.sent(said)
    unavailable = {"type": "error", "id": "x", "room": "lobby", "error": {"code": "unavailable"}}
    recorder.heard(unavailable)
    recorder.sent(said)
    recorder.heard({"type": "ack", "id": "x", "room": "lobby", "seq": 7, "duplicate": True})
    assert recorder.events == [
        Sent("lobby", "k", AT),
        Refused("lobby", "k", "unavailable", AT),
        Sent("lobby", "k", AT),
        Acked("lobby", "k", 7, AT, duplicate=True),
    ]
    assert recorder.targeted == {}
    whisper = {**said, "to": {"user": "bob"}, "data": {"key": "w"}}
    recorder.sent(whisper)
    assert recorder.targeted == {"w": whisper}


def test_what_is_not_durable_and_what_may_fail(recorder: Recorder) -> None:
    recorder.sent({"type": "chat.typing", "room": "lobby", "ephemeral": True, "data": {"key": "e"}})
    recorder.sent({"type": "note.hi", "id": 1, "to": {"user": "b"}, "data": {"key": "o"}})
    recorder.sent({"type": FAIL, "id": 2, "room": "lobby", "data": {"key": "f"}})
    assert recorder.events == [
        Sent("lobby", "e", AT, durable=False, awaited=False),
        Sent(NOWHERE, "o", AT, durable=False),
        Sent("lobby", "f", AT, fine=("handler_failed",)),
    ]


def test_events_are_kept_once(recorder: Recorder) -> None:
    event = {"type": "chat.message", "room": "lobby", "seq": 8, "ts": 1, "data": {"b": b"\x00"}}
    as_json = {**event, "data": {"b": b"\x00"}, "prev": 3}
    one, other = told(recorder, event, as_json)
    assert isinstance(one, Heard)
    assert isinstance(other, Heard)
    assert one.content is other.content
    assert (one.prev, other.prev) == (None, 3)
    gap = {"from": 1, "to": 2, "reason": "retention"}
    assert told(recorder, {"type": "gap", "room": "lobby", "data": gap}) == [
        GapTold("lobby", Gap(1, 2, "retention"), AT)
    ]
    assert told(recorder, {"type": "pong", "data": {"time": 1}}) == []


def test_a_leave_of_who_is_not_there_is_one(recorder: Recorder) -> None:
    recorder.sent({"type": "leave", "id": 1, "room": "lobby"})
    error = {"type": "error", "id": 1, "error": {"code": "not_joined"}}
    assert told(recorder, error) == [Left("lobby", True, AT)]
    recorder.sent({"type": "join", "id": 2, "room": "lobby"})
    busy = {"type": "error", "id": 2, "room": "lobby", "error": {"code": "busy"}}
    assert told(recorder, busy) == [Refused("lobby", None, "busy", AT, join=True)]
