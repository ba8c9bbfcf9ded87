"""The JSON of events: their fields, and `prev` put into frames that exist already."""

import json
import subprocess
import sys

import pytest

from roomful_protocol.codecs.events import (
    Person,
    ack_frame,
    checked_data,
    event_frame,
    history_frame,
    presence_frame,
    with_prev,
)
from roomful_protocol.codecs.json import dumps
from roomful_protocol.frames import ack, person

WHO = Person("ann", "Ann", "n1-x7")
ANN = person(*WHO)


def test_durable_event_has_seq_and_ts() -> None:
    assert event_frame("chat.message", "lobby", 58, 1795230458730, WHO, {"text": "hi"}) == (
        b'{"type":"chat.message","room":"lobby","seq":58,"ts":1795230458730,'
        b'"from":{"user":"ann","name":"Ann","session":"n1-x7"},"data":{"text":"hi"}}'
    )


def test_ephemeral_event_has_neither() -> None:
    frame = event_frame("chat.typing", "lobby", sender=WHO)
    assert json.loads(frame) == {"type": "chat.typing", "room": "lobby", "from": ANN}


def test_targeted_event_outside_rooms_has_no_room() -> None:
    frame = event_frame("chat.whisper", None, sender=WHO, data="psst")
    assert json.loads(frame) == {"type": "chat.whisper", "from": ANN, "data": "psst"}


@pytest.mark.parametrize("data", [0, False, "", [], {}])
def test_empty_data_is_still_data(data: object) -> None:
    assert json.loads(event_frame("a.b", "lobby", 1, 2, data=data))["data"] == data


@pytest.mark.parametrize("data", [object(), {1: 2}, 2**64, {"x": {1, 2}}])
def test_data_without_a_place_in_json_is_refused(data: object) -> None:
    with pytest.raises(ValueError, match="Not a value for JSON"):
        event_frame("a.b", "lobby", 1, 2, data=data)
    with pytest.raises(ValueError, match="Not a value"):
        checked_data(data)


@pytest.mark.parametrize("id", [0, -7, 2**64 - 1, "k3", 'a "quoted" é'])
def test_an_ack_is_that_of_the_frames(id: str | int) -> None:
    assert ack_frame(id, "lobby:ü", 58) == dumps(ack(id, "lobby:ü", seq=58))


def test_presence_names_everyone_in_a_small_room() -> None:
    frame = json.loads(presence_frame("lobby", 7, 5, [ANN], [], 3))
    assert frame["data"] == {"joined": [ANN], "left": [], "count": 3}
    assert (frame["type"], frame["seq"], frame["ts"]) == ("presence", 7, 5)


def test_presence_names_a_sample_in_a_large_room() -> None:
    frame = json.loads(presence_frame("lobby", 7, 5, [ANN] * 9, [ANN], 900, sample=2))
    assert frame["data"] == {
        "joined": [ANN] * 2,
        "left": [ANN],
        "count": 900,
        "joined_count": 9,
        "left_count": 1,
    }


def test_history_holds_events_as_they_are() -> None:
    event = event_frame("a.b", "lobby", 1, 2, data="é")
    assert json.loads(history_frame(None, "lobby", [event, event], more=False)) == {
        "type": "history",
        "room": "lobby",
        "data": {"events": [json.loads(event)] * 2, "more": False},
    }


def test_prev_is_put_into_a_ready_frame() -> None:
    event = event_frame("a.b", "lobby", 58, 2, data={"end": "}"})
    assert json.loads(with_prev(event, 55)) == {**json.loads(event), "prev": 55}


def test_a_short_event_takes_little_memory() -> None:
    """Measured in a process of its own, as what orjson over-allocates is seen by nobody else."""
    program = (
        "from roomful_protocol.codecs.events import event_frame\n"
        "def resident():\n"
        "    return int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "before = resident()\n"
        "kept = [event_frame('a.b', 'lobby', seq, 1, data='hi') for seq in range(20_000)]\n"
        "print((resident() - before) // len(kept))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(ran.stdout) < 400
