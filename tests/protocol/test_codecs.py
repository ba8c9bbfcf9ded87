"""Both codecs against the golden frames: what clients may say, and the very bytes they are told."""

from base64 import b64decode

import pytest
from tests.support.vectors import Vector, vectors

from roomful_protocol import frames
from roomful_protocol.codecs import JSON, MSGPACK, Codec, choose, wrong_kind
from roomful_protocol.codecs.events import history_frame
from roomful_protocol.codecs.json import dumps, loads
from roomful_protocol.codecs.tree import with_bytes
from roomful_protocol.errors import Code, Refused
from roomful_protocol.frames import ClientFrame, Since, Target

INBOUND = vectors("client-to-node.json")
INBOUND_MSGPACK = vectors("client-to-node.msgpack.json")
OUTBOUND = vectors("node-to-client.json")


def meant(spelled: Vector) -> ClientFrame:
    """The frame that a vector spells: its kind, and the fields that are not at rest."""
    fields = with_bytes({name: spelled[name] for name in spelled if name != "kind"})
    if "since" in fields:
        fields["since"] = Since(**fields["since"])
    if "to" in fields:
        fields["to"] = tuple(Target(**target) for target in fields["to"])
    frame: ClientFrame = getattr(frames, spelled["kind"])(**fields)
    return frame


def check(codec: Codec, raw: bytes, case: Vector) -> None:
    if "frame" in case:
        assert codec.decode(raw) == meant(case["frame"])
        return
    with pytest.raises(Refused) as caught:
        codec.decode(raw)
    refused = caught.value
    assert {"code": refused.code.slug, "id": refused.id} == {"id": None, **case["error"]}
    assert refused.message.endswith(".")
    assert len(refused.message) < 200


@pytest.mark.parametrize("case", INBOUND)
def test_json_from_clients(case: Vector) -> None:
    check(JSON, case["json"].encode() if "json" in case else b64decode(case["base64"]), case)


@pytest.mark.parametrize("case", INBOUND_MSGPACK)
def test_msgpack_from_clients(case: Vector) -> None:
    check(MSGPACK, bytes.fromhex(case["hex"]), case)


@pytest.mark.parametrize("case", OUTBOUND)
def test_frames_to_clients(case: Vector) -> None:
    frame_json = case["json"].encode()
    assert JSON.encode(with_bytes(case["frame"])) == frame_json
    assert JSON.shown(frame_json) == frame_json
    assert MSGPACK.encode(with_bytes(case["frame"])).hex() == case["hex"]
    assert MSGPACK.shown(frame_json).hex() == case["hex"]


def told(name: str) -> Vector:
    """The golden frame called `name`."""
    frame: Vector = next(param.values[0]["frame"] for param in OUTBOUND if param.id == name)
    return frame


def test_builders_spell_the_golden_frames() -> None:
    reply = frames.ack(2, "lobby", seq=58, data={"votes": 3})
    limits = told("hello")["data"]
    refused = Refused(Code.RATE_LIMITED, "Too many messages.", retry_after_ms=250, id=4)
    ann, bob = told("members")["data"]["members"]
    built = {
        "hello": {"type": "hello", "data": limits},
        "ack": frames.ack(2, "lobby", seq=58),
        "ack of a repeat": frames.ack(2, "lobby", seq=58, duplicate=True),
        "ack with a reply": reply,
        "ack of a targeted message": frames.ack(3, None, data={"delivered": 2}),
        "error that passes": frames.error(refused),
        "members": frames.members(6, "lobby", [ann, bob], 2, 62),
        "left": frames.left(7, "lobby"),
        "pong": frames.pong(8, 1795230458730),
        "gap": frames.gap("lobby", 42, 50, "retention"),
        "lagging": frames.lagging(["lobby"], 120),
    }
    assert built == {name: told(name) for name in built}


def test_history_is_made_of_events_as_they_are() -> None:
    events = told("history")["data"]["events"]
    frame = history_frame(5, "lobby", [dumps(event) for event in events], more=True)
    assert loads(frame) == told("history")


@pytest.mark.parametrize(
    ("offered", "codec"),
    [
        ([], JSON),
        (["roomful.v1.json"], JSON),
        (["roomful.v1.msgpack"], MSGPACK),
        (["roomful.v1.msgpack", "roomful.v1.json"], MSGPACK),
        (["graphql-ws", "roomful.v1.json"], JSON),
        (["roomful.v2.json"], None),
        (["ROOMFUL.V1.JSON"], None),
    ],
)
def test_the_client_chooses(offered: list[str], codec: Codec | None) -> None:
    assert choose(offered) is codec


def test_the_wrong_kind_of_message_is_named() -> None:
    assert "send text, not binary" in wrong_kind(JSON).message
    assert "send binary, not text" in wrong_kind(MSGPACK).message


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_data_without_a_place_in_a_message_raises_value_error(codec: Codec) -> None:
    for data in (object(), {1, 2}, 2**64, "\ud800"):
        with pytest.raises(ValueError, match="Not a"):
            codec.encode({"type": "ack", "data": data})
