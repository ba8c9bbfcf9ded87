"""Whether the cluster is calm enough to even out what its nodes have to do.

Nodes come and go together, as in a deploy, and some come and crash again and again: moving rooms
each time would be a storm. What nobody owns, and what a draining node has, does not wait for it.
"""

from collections import deque
from collections.abc import Collection
from typing import Final

from roomful_protocol.ids import NodeId

CALM_S: Final = (3.0, 120.0)
"""So long nobody may have come or gone, in seconds: doubling, up to the second, with each node that
has vanished without a drain within MEMORY_S, but for the first."""
MEMORY_S: Final = 600.0


class Calm:
    """Remembers when nodes came and went."""

    def __init__(self) -> None:
        self._up: frozenset[NodeId] = frozenset()
        self._changed_at = 0.0
        self._vanished: deque[float] = deque(maxlen=16)

    def look(self, up: Collection[NodeId], living: Collection[NodeId], at: float) -> None:
        """These nodes are up, `at` this time of a monotonic clock; others of `living` drain."""
        if self._up == set(up):
            return
        self._vanished.extend([at] * len(self._up.difference(living)))
        self._up, self._changed_at = frozenset(up), at

    def holds(self, at: float) -> bool:
        """Whether it has been calm for long enough."""
        return at - self._changed_at >= self._patience(at)

    def _patience(self, at: float) -> float:
        recent = sum(at - vanished < MEMORY_S for vanished in self._vanished)
        shortest, longest = CALM_S
        return min(shortest * 2.0 ** max(0, recent - 1), longest)
