"""What the check says: how it goes while it runs, and in the end the verdict."""

import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from roomful.check.trial import Progress, Result
from roomful.check.verdict import Verdict, Wait

SHOWN: Final = 20
"""Violations of each rule that are listed."""


class ProgressLine:
    """One line about a trial that changes, on a terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __rich__(self) -> Text:
        crowd, faults = self._progress.crowd, self._progress.faults
        parts = [self._progress.phase]
        if crowd is not None:
            there = sum(one.state.session.open for one in crowd.present)
            parts.append(f"{there} of {len(crowd.present)} clients connected")
            parts.append(f"{sum(len(one.state.asks) for one in crowd.present)} answers due")
            parts.append(f"{sum(len(one.recorder.events) for one in crowd.visitors):,} events")
        if faults is not None and faults.under_way:
            parts.append(f"trouble: {', '.join(faults.under_way)}")
        return Text(" · ".join(parts))


@contextmanager
def shown() -> Iterator[Progress]:
    """Show how it goes, on stderr, for as long as this is entered."""
    console = Console(stderr=True, highlight=False)
    progress = Progress(lambda line: console.print(line, style="dim", soft_wrap=True))
    if not console.is_terminal:
        yield progress
        return
    with Live(ProgressLine(progress), console=console, transient=True, refresh_per_second=4):
        yield progress


def verdict(result: Result, folder: Path | None, again: Sequence[str], *, as_json: bool) -> None:
    """Print the verdict. `folder` holds the evidence, if it was kept; `again` is the command that
    makes the same plan once more."""
    if as_json:
        told = _as_json(result, again) | {"evidence": None if folder is None else str(folder)}
        sys.stdout.write(json.dumps(told, ensure_ascii=False, indent=2) + "\n")
        return
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(_counted(result.verdict))
    console.print(_outages(result))
    if result.untried:
        console.print(f"There was no time for: {', '.join(result.untried)}.")
    _conclude(console, result.verdict)
    if folder is not None:
        console.print(f"The evidence is in {folder}", soft_wrap=True)
    console.print(f"Once more: {shlex.join(again)}", soft_wrap=True)


def _conclude(console: Console, found: Verdict) -> None:
    if found.good:
        console.print("No violation: every promise was kept.", style="bold green")
        return
    count = len(found.violations)
    console.print(f"{count} violation{'s' if count > 1 else ''}:", style="bold red")
    told = Counter[str]()
    for violation in found.violations:
        told[violation.rule] += 1
        if told[violation.rule] <= SHOWN:
            console.print(Text(f"  {violation.rule}: {violation.sentence}"), soft_wrap=True)
    for rule, count in told.items():
        if count > SHOWN:
            console.print(f"  {rule}: and {count - SHOWN} more")


def _counted(found: Verdict) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, count in found.counts.items():
        table.add_row(name, f"{count:,}")
    for code, count in sorted(found.refusals.items()):
        table.add_row(f"refused: {code}", f"{count:,}")
    return table


def _outages(result: Result) -> Table:
    table = Table(box=SIMPLE, pad_edge=False, header_style="bold")
    table.add_column("trouble")
    for column in ("times", "lasted at most", "longest wait for an ack"):
        table.add_column(column, justify="right")
    outages = result.verdict.outages
    for kind in sorted({one.kind for one in result.troubles}):
        lasted = [t.until - t.since for t in result.troubles if t.kind == kind]
        table.add_row(kind, str(len(lasted)), f"{max(lasted):.1f} s", _wait(outages.get(kind)))
    table.add_row("all of it", str(len(result.troubles)), "", _wait(result.verdict.worst))
    return table


def _wait(wait: Wait | None) -> str:
    return "-" if wait is None else f"{wait.seconds:.2f} s ({wait.client} in {wait.room})"


def _as_json(result: Result, again: Sequence[str]) -> dict[str, Any]:
    found = result.verdict
    return {
        "good": found.good,
        "violations": [asdict(one) for one in found.violations],
        "counts": found.counts,
        "refusals": found.refusals,
        "worst": None if found.worst is None else asdict(found.worst),
        "outages": {kind: asdict(wait) for kind, wait in found.outages.items()},
        "troubles": [asdict(one) for one in result.troubles],
        "untried": list(result.untried),
        "again": list(again),
    }


def keep(result: Result, folder: Path) -> None:
    """Write the evidence down for people: each client's events, each room's log."""
    for name in ("clients", "rooms"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for history in result.histories:
        lines = [f"{event.at:9.3f} {event}\n" for event in history.events]
        (folder / "clients" / f"{history.client}.txt").write_text("".join(lines))
    for log in result.logs:
        lines = [f"{entry.seq:6} {entry.content} {entry.audience}\n" for entry in log.entries]
        blocks = [f"{block}\n" for block in log.blocks]
        (folder / "rooms" / f"{log.room}.txt").write_text("".join(lines))
        (folder / "rooms" / f"{log.room}-blocks.txt").write_text("".join(blocks))
    troubles = [f"{one.since:9.3f} {one}\n" for one in result.troubles]
    (folder / "troubles.txt").write_text("".join(troubles))
