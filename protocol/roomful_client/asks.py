"""What was asked and not yet answered: kept over lost connections, sent again under the same id.

Everything in here may be repeated: reads change nothing, and a message takes effect once per id.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from roomful_client.pace import Allowance, Chance, full_jitter

ATTEMPTS: Final = 8
"""Refusals that were worth another try, before the asker is told of one."""
_RETRY_S: Final = (0.5, 15.0)


@dataclass(slots=True)
class Ask:
    """One request. `n` orders them; `room`: it can go only while the client is in that room."""

    n: int
    id: str
    room: str | None
    data: bytes
    attempts: int = 0
    not_before: float = 0.0


class Asks:
    """Requests in the order of asking; `full` from `capacity` on. Times are seconds."""

    def __init__(self, capacity: int, chance: Chance) -> None:
        self._capacity, self._chance = capacity, chance
        self._unsent: dict[str, Ask] = {}
        self._sent: dict[str, Ask] = {}
        self._count = 0

    @property
    def full(self) -> bool:
        return len(self) >= self._capacity

    def __len__(self) -> int:
        return len(self._unsent) + len(self._sent)

    def __contains__(self, id: object) -> bool:
        return id in self._unsent or id in self._sent

    def __iter__(self) -> Iterator[Ask]:
        return iter([*self._sent.values(), *self._unsent.values()])

    def add(self, id: str, room: str | None, data: bytes) -> None:
        """Have `data` sent. `id` must not be in here."""
        self._count += 1
        self._unsent[id] = Ask(self._count, id, room, data)

    def forget(self, id: str) -> Ask | None:
        """It was answered, or nobody waits for it any more."""
        return self._sent.pop(id, None) or self._unsent.pop(id, None)

    def sent(self, id: str) -> bool:
        return id in self._sent

    def lost(self) -> None:
        """The connection is gone: what was sent over it may not have arrived."""
        self._unsent = self._in_order({**self._sent, **self._unsent})
        self._sent = {}

    def again(self, id: str, now: float, after_ms: int | None) -> bool:
        """It was refused for the moment: send it once more, later. False: that was often enough."""
        ask = self._sent.get(id)
        if ask is None or ask.attempts + 1 >= ATTEMPTS:
            return False
        del self._sent[id]
        delay_s = full_jitter(ask.attempts, *_RETRY_S, self._chance)
        ask.not_before = now + (delay_s if after_ms is None else after_ms / 1000)
        ask.attempts += 1
        self._unsent = self._in_order({**self._unsent, id: ask})
        return True

    def due(
        self, now: float, ready: Callable[[str | None], bool], allowance: Allowance
    ) -> tuple[list[Ask], float | None]:
        """What to send now, each room's in order, and when to look again."""
        going: list[Ask] = []
        held: set[str | None] = set()
        wake: list[float] = []
        for ask in self._unsent.values():
            if ask.room in held or not ready(ask.room):
                continue
            if ask.not_before > now:
                held.add(ask.room)
                wake.append(ask.not_before)
            elif allowance.take(now):
                going.append(ask)
            else:
                wake.append(allowance.next_at(now))
                break
        for ask in going:
            del self._unsent[ask.id]
            self._sent[ask.id] = ask
        return going, min(wake, default=None)

    @staticmethod
    def _in_order(asks: dict[str, Ask]) -> dict[str, Ask]:
        return dict(sorted(asks.items(), key=lambda item: item[1].n))
