"""Whether what happened is what was promised: histories and logs in, a verdict out. Pure.

The rules stand in files by what they look at: `writing` at the log alone, `hearing` at what clients
heard of it, `effects` at what became of what they said, `attendance` at who was there.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from roomful.check import attendance, effects, hearing, writing
from roomful.check.evidence import Bounds, Evidence, Violation
from roomful.check.history import (
    Acked,
    Broke,
    GapTold,
    Heard,
    History,
    Joined,
    Opened,
    Refused,
    Sent,
    Trouble,
)  # fmt: skip
from roomful.check.roomlog import RoomLog

RULES: Final = (*writing.RULES, *hearing.RULES, *effects.RULES, *attendance.RULES)


@dataclass(frozen=True, slots=True)
class Wait:
    """How long a client waited for the ack of a durable message that it had said first at `at`, in
    seconds."""

    seconds: float
    client: str
    room: str
    key: str
    at: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found. `worst` is the longest wait for an ack, `outages` the longest one of those
    that fell into each kind of trouble; `refusals` counts errors by code."""

    violations: tuple[Violation, ...]
    counts: dict[str, int]
    refusals: dict[str, int]
    worst: Wait | None
    outages: dict[str, Wait]

    @property
    def good(self) -> bool:
        return not self.violations


def judge(
    histories: Sequence[History],
    logs: Sequence[RoomLog],
    bounds: Bounds,
    troubles: Sequence[Trouble] = (),
    complaints: Sequence[Violation] = (),
) -> Verdict:
    """The verdict on one run, at whose end all was quiet. `complaints`: what was found broken by
    other means."""
    evidence = Evidence(histories, logs, bounds, troubles)
    found = (*complaints, *chain.from_iterable(rule(evidence) for rule in RULES))
    waits = list(_waits(histories))
    refusals = Counter(
        event.code for one in histories for event in one.events if isinstance(event, Refused)
    )
    return Verdict(
        found,
        _counts(evidence),
        dict(refusals),
        max(waits, key=_seconds, default=None),
        _outages(waits, troubles),
    )


def _counts(evidence: Evidence) -> dict[str, int]:
    kinds = Counter(type(event) for one in evidence.histories for event in one.events)
    events = [event for one in evidence.histories for event in one.events]
    written = [block for log in evidence.logs.values() for block in log.blocks]
    return {
        "clients": len(evidence.histories),
        "rooms": len(evidence.logs),
        "sessions": len({event.session for event in events if isinstance(event, Opened)}),
        "connections": kinds[Opened],
        "sent": len({event.key for event in events if isinstance(event, Sent)}),
        "retried": sum(_retries(one) for one in evidence.histories),
        "acked": kinds[Acked],
        "duplicates": sum(event.duplicate for event in events if isinstance(event, Acked)),
        "heard": kinds[Heard],
        "joins": kinds[Joined],
        "gaps": kinds[GapTold]
        + sum(event.gap is not None for event in events if isinstance(event, Joined)),
        "entries": sum(len(log.entries) for log in evidence.logs.values()),
        "blocks": len(written),
        "terms": len({(log.room, b.term) for log in evidence.logs.values() for b in log.blocks}),
        "writers": len({block.writer for block in written}),
    }


def _retries(history: History) -> int:
    said = [event.key for event in history.events if isinstance(event, Sent)]
    return len(said) - len(set(said))


def _waits(histories: Sequence[History]) -> list[Wait]:
    waits = []
    for history in histories:
        first: dict[str, float] = {}
        for event in history.events:
            match event:
                case Sent(key=key, at=at, durable=True):
                    first.setdefault(key, at)
                case Broke():
                    first.clear()
                case Acked(room, key, _, at) if key in first:
                    since = first[key]
                    waits.append(Wait(at - since, history.client, room, key, since))
                case _:
                    pass
    return waits


def _outages(waits: Sequence[Wait], troubles: Sequence[Trouble]) -> dict[str, Wait]:
    worst: dict[str, Wait] = {}
    for trouble in troubles:
        within = [w for w in waits if w.at <= trouble.until and w.at + w.seconds >= trouble.since]
        if (known := worst.get(trouble.kind)) is not None:
            within.append(known)
        if within:
            worst[trouble.kind] = max(within, key=_seconds)
    return worst


def _seconds(wait: Wait) -> float:
    return wait.seconds
