"""Checks and conversions of parsed values: how deep, how many keys, which bytes.

A client's values are bounded here once, so that everything behind may recurse and re-encode.
"""

from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Mapping
from math import inf, isfinite
from types import NoneType
from typing import Any, Final

from roomful_protocol.errors import Code, Refused

DEPTH: Final = 32
"""Levels of objects and lists in one frame, the frame itself included."""
INT64: Final = range(-(2**63), 2**64)
"""Integers that both codecs carry: 64 bits, signed or unsigned."""
BIN: Final = "$bin"
"""The key under which JSON shows bytes, as base64."""

_LEAVES: Final = frozenset({str, int, bool, NoneType, bytes})


def too_deep() -> Refused:
    return Refused(Code.BAD_FRAME, f"A frame must not be nested deeper than {DEPTH} levels.")


def keys_in(value: Any, depth: int = DEPTH) -> float:
    """The number of keys in all objects of parsed JSON; infinite if a float may be an integer that
    did not fit. Raises Refused if `value` is nested deeper than `depth`.
    """
    if not depth:
        raise too_deep()
    count: float = 0
    inner = value
    if type(value) is dict:
        count, inner = len(value), value.values()
    for item in inner:
        kind = type(item)
        if kind is dict or kind is list:
            count += keys_in(item, depth - 1)
        elif kind is float and not -9.2e18 < item < 9.2e18:
            count = inf
    return count


def check_plain(value: Any, depth: int = DEPTH) -> None:
    """Raises Refused unless `value`, parsed from msgpack, could be JSON but for its bytes."""
    kind = type(value)
    if kind in _LEAVES:
        return
    if kind is float:
        if not isfinite(value):
            raise Refused(Code.BAD_FRAME, "A number must be finite, not NaN or infinite.")
        return
    if kind is not dict and kind is not list:
        raise Refused(Code.BAD_FRAME, "Extension types and timestamps of msgpack are not allowed.")
    if not depth:
        raise too_deep()
    for item in value.values() if kind is dict else value:
        check_plain(item, depth - 1)


def jsonable(value: object) -> object:
    """What stands in JSON for a value that JSON does not know. Raises TypeError if nothing does."""
    if isinstance(value, bytes | bytearray | memoryview):
        return {BIN: b64encode(value).decode()}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in a message")


def with_bytes(value: Any) -> Any:
    """`value`, parsed from JSON, with the bytes that `jsonable` has shown there."""
    if type(value) is list:
        return [with_bytes(item) for item in value]
    if type(value) is not dict:
        return value
    if len(value) == 1 and isinstance(encoded := value.get(BIN), str):
        try:
            return b64decode(encoded, validate=True)
        except (Error, ValueError):
            return value  # Not base64, so not ours: somebody's own data.
    return {key: with_bytes(item) for key, item in value.items()}
