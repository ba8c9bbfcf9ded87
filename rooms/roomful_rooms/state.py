"""A room's durable state: a mapping whose changes are drafts until the handler has succeeded."""

from collections.abc import Iterator, MutableMapping
from copy import deepcopy
from typing import Any, Final

from roomful_protocol.codecs.values import pack, unpack

_GONE: Final = object()
UNCHANGED: Final[tuple[dict[str, Any], tuple[str, ...]]] = ({}, ())
"""What `State.changes` returns if nothing was even touched: then nothing need be taken."""


class State(MutableMapping[str, Any]):
    """Keys to msgpack-able values. Reads see the handler's own drafts; `take` makes them real.

    A mutable value may be changed in place: what was handed out is a copy, compared when the
    handler is done. Tuples come back as lists, as they would after a restart.
    """

    def __init__(self, values: dict[str, Any] | None = None) -> None:
        self._values: dict[str, Any] = dict(values or {})
        self.drafts: dict[str, Any] = {}
        """What a handler has set, or was handed and may have changed."""

    def __getitem__(self, key: str) -> Any:
        if key in self.drafts:
            value = self.drafts[key]
            if value is _GONE:
                raise KeyError(key)
            return value
        value = self._values[key]
        if isinstance(value, (dict, list)):
            value = self.drafts[key] = deepcopy(value)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(f"A key of a room's state must be a string, not {type(key).__name__}.")
        self.drafts[key] = value

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self.drafts[key] = _GONE

    def __contains__(self, key: object) -> bool:
        if isinstance(key, str) and key in self.drafts:
            return self.drafts[key] is not _GONE
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter([key for key in {**self._values, **self.drafts} if key in self])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def changes(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        """What the drafts change: new values, and keys that go.

        Raises TypeError or ValueError, naming the key, if a value cannot be stored.
        """
        if not self.drafts:
            return UNCHANGED
        changed: dict[str, Any] = {}
        removed: list[str] = []
        for key, draft in self.drafts.items():
            if draft is _GONE:
                if key in self._values:
                    removed.append(key)
                continue
            try:
                packed = pack(draft)
            except (TypeError, ValueError, OverflowError) as cause:
                raise TypeError(f"state[{key!r}] cannot be stored: {cause}") from cause
            if key not in self._values or packed != pack(self._values[key]):
                changed[key] = unpack(packed)
        return changed, tuple(removed)

    def take(self, changed: dict[str, Any], removed: tuple[str, ...]) -> None:
        """Make changes real, from drafts or from a block of the log, and forget the drafts."""
        self.drafts.clear()
        self._values.update(changed)
        for key in removed:
            self._values.pop(key, None)

    def drop(self) -> None:
        """Forget the drafts: the handler failed."""
        self.drafts.clear()

    def values_now(self) -> dict[str, Any]:
        """All real values, without drafts; for a snapshot, not to be changed."""
        return self._values
