"""The sub-protocol `roomful.v1.json`: text messages, strictly JSON, no key twice."""

from collections import Counter
from json import loads as strict_loads
from re import compile as pattern
from typing import Any, Final

import orjson

from roomful_protocol.codecs.codec import TEXT
from roomful_protocol.codecs.inbound import Tree, frame_of, id_of
from roomful_protocol.codecs.tree import (
    BIN,
    DEPTH,
    INT64,
    jsonable,
    keys_in,
    too_deep,
    with_bytes,
)
from roomful_protocol.errors import Code, Refused
from roomful_protocol.frames import ClientFrame, Frame

_MARKED_BIN: Final = f'"{BIN}"'.encode()
# To look for one byte takes a fraction of what it takes to look for several, or to count.
_MARK: Final = ord(BIN[0])
_LIST: Final = ord("[")
_spaced_colon: Final = pattern(rb"\s:").search


def dumps(value: object) -> bytes:
    """`value` as JSON, bytes as {"$bin": base64}. Raises ValueError for what has no place there."""
    try:
        return orjson.dumps(value, default=jsonable)
    except orjson.JSONEncodeError as problem:
        raise ValueError(f"Not a value for JSON: {problem.__cause__ or problem}") from None


def loads(frame_json: bytes) -> Any:
    """A value that `dumps` has encoded, its bytes included."""
    value = orjson.loads(frame_json)
    return with_bytes(value) if _MARKED_BIN in frame_json else value


class JsonCodec:
    """Parses with orjson and makes up for its leniency: it takes the last of two equal keys, and a
    float for an integer that is too big."""

    subprotocol = "roomful.v1.json"
    opcode = TEXT

    def decode(self, raw: bytes) -> ClientFrame:
        try:
            tree = orjson.loads(raw)
        except orjson.JSONDecodeError as problem:
            raise Refused(Code.BAD_FRAME, f"Not valid JSON: {problem.msg}.") from None
        if type(tree) is not dict:
            raise Refused(Code.BAD_FRAME, "A frame must be a JSON object.")
        # What comes back as the very bytes that came has lost nothing: no key, and no digit. Most
        # clients write like that. Nor is it too deep with few brackets, or with no list and no
        # object far from the beginning: each but the first is preceded by {"": at least.
        far = _LIST in raw or raw.rfind(b"{") >= 4 * DEPTH
        if (far and raw.count(b"{") + raw.count(b"[") > DEPTH) or orjson.dumps(tree) != raw:
            try:
                _check(tree, raw)
            except Refused as refused:
                refused.id = id_of(tree)
                raise
        if _MARK in raw and _MARKED_BIN in raw:
            tree["data"] = with_bytes(tree.get("data"))
        return frame_of(tree)

    def encode(self, frame: Frame) -> bytes:
        return dumps(frame)

    def shown(self, frame_json: bytes) -> bytes:
        return frame_json


def _check(tree: Tree, raw: bytes) -> None:
    """Raises Refused if `raw`, of which `tree` was parsed, is too deep or says more than that."""
    keys = keys_in(tree)
    if raw.count(b":") != keys and not _one_colon_per_key(raw, keys):
        _check_strictly(raw)


def _one_colon_per_key(raw: bytes, keys: float) -> bool:
    # Where no colon follows a space, each key's colon follows its quote, so that more keys than
    # were parsed would be more of these. Strings that hold one end in the strict check, which is
    # only slower.
    return raw.count(b'":') == keys and not _spaced_colon(raw)


def _check_strictly(raw: bytes) -> None:
    """Raises Refused if valid JSON names a key twice or an integer of more than 64 bits."""
    try:
        strict_loads(raw.decode(), object_pairs_hook=unique, parse_int=_parse_int)
    except RecursionError:
        # Of a key that is there twice only the last value was parsed: what is deep is in the other.
        raise too_deep() from None


def unique(pairs: list[tuple[str, object]]) -> Tree:
    """The object of these pairs. Raises Refused if a key is there twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise Refused(Code.BAD_FRAME, f"The key {twice[:32]!r} is in one object twice.")
    return made


def _parse_int(digits: str) -> int:
    # By length first: Python refuses to convert thousands of digits, and rightly so.
    if len(digits) > 20 or int(digits) not in INT64:
        raise Refused(Code.BAD_FRAME, "Integers must fit into 64 bits.")
    return int(digits)


JSON: Final = JsonCodec()
