"""What nodes have logged that means a bug."""

import json
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any, Final

from roomful.check.evidence import Violation
from roomful.check.rooms import FAIL

BAD: Final = frozenset({"error", "critical"})
DEATHS: Final = frozenset({"embedded.died"})
"""Errors that are no surprise where brokers are killed."""
SHOWN: Final = 200
"""Characters of a line in a sentence."""


def complaints(file: Path, expected: Set[str] = frozenset()) -> Iterator[Violation]:
    """The lines of a log that mean a bug, or are no lines of ours at all. Events that are
    `expected` mean none."""
    with file.open(errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if (said := _complaint(line, expected)) is not None:
                yield Violation("logs", f"{file.name}:{number}: {said}")


def _complaint(line: str, expected: Set[str]) -> str | None:
    try:
        event: Any = json.loads(line)
    except ValueError:
        return line.strip()[:SHOWN]
    if not isinstance(event, dict):
        return line.strip()[:SHOWN]
    if event.get("level") not in BAD or event.get("event") in expected:
        return None
    if event["event"] == "room.handler_failed" and event.get("ask") == FAIL:
        return None
    *_, last = (event.get("exception") or "").strip().splitlines() or [""]
    fields = {k: v for k, v in event.items() if k not in ("exception", "timestamp", "level")}
    return f"{json.dumps(fields, ensure_ascii=False)} {last}".strip()[: 2 * SHOWN]
