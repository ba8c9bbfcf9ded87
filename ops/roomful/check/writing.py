"""Rules of the log itself: dense, written by one owner a term, each transaction whole."""

from collections import Counter
from collections.abc import Iterator

from roomful.check.content import FAREWELL
from roomful.check.evidence import Evidence, Violation
from roomful.check.roomlog import RoomLog
from roomful_protocol.ids import NodeId, Partition, partition_of


def dense(evidence: Evidence) -> Iterator[Violation]:
    """The entries of a log are numbered without a hole; one log, one epoch."""
    for log in evidence.logs.values():
        for before, entry in zip(log.entries, log.entries[1:], strict=False):
            if entry.seq != before.seq + 1:
                said = f"{log.room}: entry {entry.seq} comes after entry {before.seq}."
                yield Violation("dense", said)
        for earlier, block in zip(log.blocks, log.blocks[1:], strict=False):
            if block.first != earlier.last + 1:
                said = f"{log.room}: a block begins at {block.first}, after {earlier.last}."
                yield Violation("dense", said)
        epochs = {block.epoch for block in log.blocks}
        if len(epochs) > 1:
            said = f"{log.room}: the log was begun anew: epochs {', '.join(sorted(epochs))}."
            yield Violation("epoch", said)


def fenced(evidence: Evidence) -> Iterator[Violation]:
    """Terms never decrease along a log, and whoever was replaced writes no more."""
    for log in evidence.logs.values():
        yield from _fenced(log)


def _fenced(log: RoomLog) -> Iterator[Violation]:
    replaced: set[str] = set()
    for earlier, block in zip(log.blocks, log.blocks[1:], strict=False):
        at = f"{log.room}: at seq {block.first},"
        if block.term < earlier.term:
            yield Violation("fenced", f"{at} term {block.term} writes after term {earlier.term}.")
        if block.writer != earlier.writer:
            replaced.add(earlier.writer)
        elif block.number != earlier.number + 1:
            said = f"{at} writer {block.writer} writes {block.number} after {earlier.number}."
            yield Violation("fenced", said)
        if block.writer in replaced:
            yield Violation("fenced", f"{at} writer {block.writer} writes, who was replaced.")


def owned(evidence: Evidence) -> Iterator[Violation]:
    """A term of a partition has one node that writes."""
    owners: dict[tuple[Partition, int], tuple[NodeId, str]] = {}
    for log in evidence.logs.values():
        partition = partition_of(log.room)
        for block in log.blocks:
            if block.node is None:
                continue
            node, room = owners.setdefault((partition, block.term), (block.node, log.room))
            if node != block.node:
                yield Violation(
                    "owned",
                    f"Partition {partition}, term {block.term}: {node} writes to {room} and"
                    f" {block.node} to {log.room} (seq {block.first}).",
                )
                owners[partition, block.term] = (block.node, log.room)


def transactions(evidence: Evidence) -> Iterator[Violation]:
    """Counters in rooms' state have counted each event that tells of them, and nothing else."""
    for log in evidence.logs.values():
        counted: dict[str, int] = {}
        for entry in log.entries:
            kind, tally = entry.content.type, entry.content.tally
            if tally is None:
                continue
            before = counted.get(kind)
            counted[kind] = tally
            if tally != (before or 0) + 1 and not (before is None and log.oldest > 1):
                said = f"{log.room}: at seq {entry.seq}, {kind} counts {tally} after {before or 0}."
                yield Violation("transactions", said)


def farewells(evidence: Evidence) -> Iterator[Violation]:
    """`on_leave` ran once for each leave, in the rooms that tell of it, and told of no other."""
    for log in evidence.logs.values():
        told = Counter(
            entry.content.about for entry in log.entries if entry.content.type == FAREWELL
        )
        if not any(entry.content.tally is not None for entry in log.entries) and not told:
            # No room of the check: nobody has promised to tell.
            continue
        left = Counter(session for entry in log.entries for session in entry.content.left)
        for session in sorted({*left, *filter(None, told)}):
            if told[session] != left[session]:
                who = evidence.owner(session)
                said = f"{log.room}: {who} left {left[session]} times, on_leave ran {told[session]}"
                yield Violation("farewells", f"{said}.")


RULES = (dense, fenced, owned, transactions, farewells)
