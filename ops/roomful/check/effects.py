"""Rules of what becomes of what is said: acked is in the log, and nothing takes effect twice."""

from collections.abc import Iterator

from roomful.check.evidence import Evidence, Violation
from roomful.check.history import Acked, History, Joined, Leaving, Left, Refused, Sent
from roomful_protocol.ids import RoomName


def acked(evidence: Evidence) -> Iterator[Violation]:
    """What was acked is in the log, under the seq of the ack, as it was said."""
    for history in evidence.histories:
        durable = {e.key for e in history.events if isinstance(e, Sent) and e.durable}
        for event in history.events:
            if not isinstance(event, Acked) or event.key not in durable:
                continue
            if event.room not in evidence.logs:
                continue
            if event.seq is None:
                yield _violation("acked", history, event, "was acked without a seq")
                continue
            entry = evidence.entries[event.room].get(event.seq)
            if entry is None and event.seq >= evidence.logs[event.room].oldest:
                said = f"was acked as seq {event.seq}, which is not in the log"
                yield _violation("acked", history, event, said)
            elif entry is not None and entry.content.key != event.key:
                said = f"was acked as seq {event.seq}, where the log has {entry.content}"
                yield _violation("acked", history, event, said)


def once(evidence: Evidence) -> Iterator[Violation]:
    """What is said takes effect once at most, and only what is said does."""
    for key, places in evidence.keys.items():
        at = ", ".join(f"{room} {entry.seq}" for room, entry in places)
        if len(places) > 1:
            yield Violation("once", f"What was said once as {key} is in the log at {at}.")
        if key not in evidence.sent:
            yield Violation("once", f"Nobody has said {key}, which is in the log at {at}.")


def traceless(evidence: Evidence) -> Iterator[Violation]:
    """What was refused for good has left no trace."""
    for history in evidence.histories:
        final: dict[str, Refused] = {}
        for event in history.events:
            match event:
                case Sent(key=key) | Acked(key=key):
                    final.pop(key, None)
                case Refused(key=str(key)) if not event.passing:
                    final[key] = event
                case _:
                    pass
        for key, refusal in final.items():
            for room, entry in evidence.keys.get(key, ()):
                said = f"was refused ({refusal.code}) and is in the log of {room} as {entry.seq}"
                yield _violation("traceless", history, refusal, said)


def answered(evidence: Evidence) -> Iterator[Violation]:
    """Whatever was said is answered in the end, unless its room was left in the meantime."""
    for history in evidence.histories:
        if history.gone:
            continue
        waiting: dict[str, Sent] = {}
        for event in history.events:
            match event:
                case Sent(key=key, awaited=True):
                    waiting.setdefault(key, event)
                case Acked(key=key) | Refused(key=str(key)):
                    waiting.pop(key, None)
                case Leaving(room) | Left(room):
                    waiting = {key: sent for key, sent in waiting.items() if sent.room != room}
                case _:
                    pass
        for event in waiting.values():
            yield _violation("answered", history, event, "was never answered")


def errors(evidence: Evidence) -> Iterator[Violation]:
    """A client that behaves well is refused nothing but for a moment.

    `not_joined` is the exception for one that has left, says the room's log, since the join after
    which it first said what was refused.
    """
    for history in evidence.histories:
        fine: dict[str | None, tuple[str, ...]] = {}
        joined: dict[RoomName, int] = {}
        said_after: dict[str | None, int] = {}
        for event in history.events:
            match event:
                case Joined(room, seq=seq):
                    joined[room] = seq
                case Sent(room, key):
                    fine[key] = event.fine
                    said_after.setdefault(key, joined.get(room, 0))
                case Refused(key=key) if not event.passing and event.code not in fine.get(key, ()):
                    left = _left(evidence, history, event, said_after.get(key, 0))
                    if event.code != "not_joined" or not left:
                        yield _violation("errors", history, event, f"was refused: {event.code}")
                case _:
                    pass


def _left(evidence: Evidence, history: History, refused: Refused, after: int) -> bool:
    """Whether one of the client's sessions has left the room since seq `after`."""
    log = evidence.logs.get(refused.room or "")
    own = evidence.sessions[history.client]
    return log is None or any(
        entry.seq > after and not own.isdisjoint(entry.content.left) for entry in log.entries
    )


def _violation(rule: str, history: History, event: Sent | Acked | Refused, said: str) -> Violation:
    what = f"what {history.client} said as {event.key}" if event.key else history.client
    return Violation(rule, f"{event.room or 'Outside rooms'}: {what} {said}.")


RULES = (acked, once, traceless, answered, errors)
