"""Plain values as bytes: the msgpack of state, replies and the directory.

None, bools, 64-bit integers, floats, strings, bytes, lists and mappings survive as they are; a
tuple comes back as a list. Equal bytes mean that nothing has changed, so values are compared by
them.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar, cast

import msgpack
from msgspec.msgpack import Encoder
from msgspec.structs import astuple

_encode: Final = Encoder().encode

_P = ParamSpec("_P")
_T = TypeVar("_T")

# What Python raises when fields of unknown shape are taken apart.
_MISSHAPEN: Final = (TypeError, LookupError, AttributeError, OverflowError)


def pack(value: object, default: Callable[[Any], object] | None = None) -> bytes:
    """`value` as msgpack. Raises ValueError, saying why, for what cannot be stored. `default` says
    what stands for a value that msgpack does not know."""
    try:
        return cast("bytes", msgpack.packb(value, default=default))
    except (TypeError, OverflowError, ValueError) as problem:
        raise ValueError(f"Not a storable value: {problem}") from None


def pack_ours(value: object) -> bytes:
    """`pack`, for what is put together of our own parts: the same bytes in a third of the time.

    Not for what authors made: it would take more than `pack` does, and bring it back otherwise.
    """
    try:
        return _encode(value)
    except (TypeError, OverflowError, ValueError):
        # Or a part is an author's kind of string, say.
        return pack(value, default=astuple)


def unpack(data: bytes) -> Any:
    """The value that `pack` made into `data`. Raises ValueError if it is not msgpack."""
    try:
        return msgpack.unpackb(data, strict_map_key=False)
    except TypeError:
        # A key was an array: an author's tuple. Rare, so only now with a hook for every mapping.
        return _unpack_tuple_keys(data)


def _unpack_tuple_keys(data: bytes) -> Any:
    try:
        return msgpack.unpackb(data, strict_map_key=False, object_pairs_hook=_hashable_keys)
    except TypeError as problem:
        raise ValueError(str(problem)) from None


def _hashable_keys(pairs: Iterable[tuple[object, object]]) -> dict[object, object]:
    return {_frozen(key): value for key, value in pairs}


def _frozen(key: object) -> object:
    return tuple(map(_frozen, key)) if isinstance(key, list) else key


def fields(data: bytes, version: int, what: str) -> list[Any]:
    """The fields of a record whose first element is its format's version.

    Raises ValueError if it is no such record or of another version.
    """
    record = unpack(data)
    if not isinstance(record, list) or not record:
        raise ValueError(f"{what}: not a record.")
    if record[0] != version:
        raise ValueError(f"{what}: format {record[0]!r} is not {version}, which this node knows.")
    return record


def value_error(of: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorate a decoder so that malformed input raises ValueError and nothing else."""

    @wraps(of)
    def decode(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return of(*args, **kwargs)
        except _MISSHAPEN as problem:
            raise ValueError(f"{of.__name__}: {problem}") from None

    return decode
