"""Whatever a client sends, a codec returns a frame or raises Refused; and what it takes is kept."""

import json
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roomful_protocol.codecs import JSON, MSGPACK, Codec
from roomful_protocol.codecs.json import loads
from roomful_protocol.codecs.tree import DEPTH
from roomful_protocol.codecs.values import pack, pack_ours, unpack
from roomful_protocol.errors import Code, Refused
from roomful_protocol.frames import ClientFrame, Say

FIELDS = (
    "type", "id", "room", "data", "to", "ephemeral", "echo", "since", "epoch", "before", "after",
    "limit", "token", "seq", "from", "constructor", "__proto__",
)  # fmt: skip
TYPES = (
    "join", "leave", "history", "members", "auth", "ping", "bye", "chat.message", "hello", "a.", "",
)  # fmt: skip

integers = st.integers(-(2**70), 2**70) | st.sampled_from([2**63, 2**64, -(2**63) - 1])
leaves = st.none() | st.booleans() | integers | st.floats() | st.text() | st.just("last:5")
json_values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
msgpack_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary()
    | st.text() | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary()),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text() | st.integers(0, 9) | st.binary(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
targets = st.fixed_dictionaries({}, optional={"user": st.text(), "session": st.text()})


def frames_of(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with the fields of frames, holding anything at all."""
    known = st.fixed_dictionaries(
        {"type": st.sampled_from(TYPES) | st.text(max_size=9)},
        optional={"to": targets | st.lists(targets) | values, "room": st.text() | values},
    )
    others = st.dictionaries(st.sampled_from(FIELDS), values, max_size=5)
    return st.builds(lambda frame, more: more | frame, known, others)


def decoded(codec: Codec, raw: bytes) -> ClientFrame | Refused:
    """The frame or the refusal. Anything else that is raised fails the test."""
    try:
        return codec.decode(raw)
    except Refused as refused:
        refused.message.encode()
        return refused


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
@given(st.binary())
@example(b"\xef\xbb\xbf{}")
@example(b"[" * 100_000)
@example(b"\x91" * 100_000)
@example(b'{"a":' * 100_000)
@example(b"\x00" * 9)
def test_any_bytes(codec: Codec, raw: bytes) -> None:
    result = decoded(codec, raw)
    assert not isinstance(result, Refused) or result.code in Code


@given(frames_of(json_values), st.booleans())
def test_any_json_object(frame: dict[str, Any], escaped: bool) -> None:
    raw = json.dumps(frame, ensure_ascii=escaped).encode(errors="surrogatepass")
    result = decoded(JSON, raw)
    if isinstance(result, Say):
        assert JSON.decode(JSON.encode(spell(result))) == result
        assert MSGPACK.decode(MSGPACK.encode(spell(result))) == result


@given(frames_of(msgpack_values))
def test_any_msgpack_object(frame: dict[str, Any]) -> None:
    result = decoded(MSGPACK, pack(frame))
    if isinstance(result, Say) and "$bin" not in repr(result.data):
        assert MSGPACK.decode(MSGPACK.encode(spell(result))) == result
        assert JSON.decode(JSON.encode(spell(result))) == result


class Kind(str):
    """An author's own kind of string."""

    __slots__ = ()


parts = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary() | st.text()
    | st.text().map(Kind),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=40,
)  # fmt: skip


@given(parts)
@example(["x" * 70_000, b"y" * 70_000, ["z"] * 70_000])
def test_our_own_parts_are_packed_to_the_same_bytes(value: object) -> None:
    assert pack_ours(value) == pack(value)


@pytest.mark.parametrize("value", [2**64, "\ud800", object()])
def test_our_own_parts_may_be_as_impossible_to_pack(value: object) -> None:
    with pytest.raises(ValueError, match="Not a storable value"):
        pack_ours([value])


def spell(say: Say) -> dict[str, object]:
    """The frame that a client would have sent to be understood as `say`."""
    return {
        "type": say.type, "room": say.room, "data": say.data, "id": say.id,
        "ephemeral": say.ephemeral, "echo": say.echo,
        "to": [{target.kind: target.value} for target in say.to] or None,
    }  # fmt: skip


_text = st.text(st.characters(exclude_categories=["Cs"]))


@given(_text | st.text(':"\\{}[], \t\n', max_size=9), st.lists(_text, max_size=3))
def test_no_string_is_taken_for_structure(text: str, keys: list[str]) -> None:
    data = {"text": text, **dict.fromkeys(keys, text)}
    for raw in (
        json.dumps({"type": "a.b", "data": data}),
        json.dumps({"type": "a.b", "data": data}, indent=1),
    ):
        sent = JSON.decode(raw.encode())
        assert isinstance(sent, Say)
        assert sent.data == data


pairs = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["1", '":"', '"\\":"'])))


@given(pairs, st.sampled_from([":", " :", "\t: "]))
def test_a_key_twice_is_always_noticed(members: list[tuple[str, str]], colon: str) -> None:
    body = ",".join(f'"{key}"{colon}{value}' for key, value in members)
    result = decoded(JSON, f'{{"type":"a.b","data":{{{body}}}}}'.encode())
    assert isinstance(result, Refused) == (len({key for key, _ in members}) < len(members))


@given(st.integers(1, 60), st.booleans())
@example(DEPTH, False)
def test_depth_is_bounded_alike(levels: int, lists: bool) -> None:
    value: object = 1.5
    for _ in range(levels):
        value = [value] if lists else {"": value}
    frame = {"data": value, "type": "a.b"}
    shortest = {"": value, "type": "a.b"}
    dense = [json.dumps(one, separators=(",", ":")).encode() for one in (frame, shortest)]
    for codec, raw in (
        (JSON, json.dumps(frame).encode()), (JSON, dense[0]), (JSON, dense[1]),
        (MSGPACK, pack(frame)),
    ):  # fmt: skip
        assert isinstance(decoded(codec, raw), Refused) == (levels + 1 > DEPTH)


def test_what_is_deep_behind_a_key_that_comes_again_is_refused() -> None:
    for levels in (DEPTH, 900, 1010):
        deep = b"[" * levels + b"]" * levels
        raw = b'{"type":"a.b","data":%b,"data":1}' % deep
        assert isinstance(decoded(JSON, raw), Refused)


@given(st.binary())
def test_bytes_look_the_same_to_every_client(data: bytes) -> None:
    sent = MSGPACK.decode(pack({"type": "a.b", "data": [data]}))
    assert isinstance(sent, Say)
    shown = JSON.encode({"data": sent.data})
    assert loads(shown) == {"data": [data]}
    assert unpack(MSGPACK.shown(shown)) == {"data": [data]}
