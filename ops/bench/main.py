"""The command: which scenarios run, how often, and where the figures go."""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from rich.console import Console

from bench import machine, report
from bench.measure import Figure, Reading, figures, settled
from bench.processes import LOAD_CORE, Unstarted, ahead
from bench.scenarios import SCENARIOS, Scenario
from bench.subject import Bench
from bench.tools import Tools, Unusable
from bench.wire import Broken

WIDTH: Final = 120
"""Columns of the tables where there is no terminal to ask."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; the exit code is not 0 if something could not be measured."""
    options = _parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    described = machine.described()
    found: list[Figure] = []
    failed = False
    _take_own_core()
    with tempfile.TemporaryDirectory(prefix="roomful-bench-") as folder:
        try:
            bench = Bench(Path(folder), _tools(options.tools, Path(folder)))
        except Unusable as problem:
            _complain(console, str(problem))
            return 2
        for name in options.only or SCENARIOS:
            readings = _measured(name, SCENARIOS[name], bench, options.repeats, console)
            found += figures(readings, options.repeats)
            failed |= not readings
    if found:
        report.printed(described, found, console)
        if options.json is not None:
            report.saved(described, found, options.json)
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    about = "\n".join(f"  {name:8} {scenario.about}" for name, scenario in SCENARIOS.items())
    parser = argparse.ArgumentParser(
        prog="run.py",
        description="Measure a node on this machine, over loopback.",
        epilog=f"scenarios:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", choices=list(SCENARIOS), metavar="NAME",
                        help="run this scenario; may be repeated")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=3, help="quiet repeats to make (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--tools", type=Path, metavar="DIR",
                        help="folder of wsload.c and cfan.c; without, none in C")  # fmt: skip
    return parser


def _tools(sources: Path | None, folder: Path) -> Tools | None:
    return None if sources is None else Tools.compiled(sources, folder)


def _measured(
    name: str, scenario: Scenario, bench: Bench, repeats: int, console: Console
) -> list[Reading]:
    """Repeat until there are `repeats` quiet readings of each figure, or twice as many of any."""
    readings: list[Reading] = []
    if scenario.tools and bench.tools is None:
        _complain(console, f"{name} needs the load generator in C: say --tools DIR.")
        return readings
    for attempt in range(1, 2 * repeats + 1):
        if settled(readings, repeats):
            break
        try:
            readings.extend(_told(scenario.once(bench), f"{name} {attempt}", console))
        except (Unstarted, Unusable, Broken, TimeoutError) as problem:
            _complain(console, f"{name} {attempt}: {problem!r}")
    return readings


def _complain(console: Console, problem: str) -> None:
    console.print(problem, style="red", markup=False, highlight=False)


def _told(readings: Iterator[Reading], label: str, console: Console) -> Iterator[Reading]:
    for reading in readings:
        noise = f"  (others: {reading.foreign:.2f} cores)" if reading.noisy else ""
        value = f"{report.shown(reading.value)} {reading.unit}"
        console.print(f"{label}: {reading.figure}: {value}{noise}", highlight=False)
        yield reading


def _take_own_core() -> None:
    """Onto the load's core; ahead of others, where that is allowed and the session our own."""
    os.sched_setaffinity(0, {LOAD_CORE})
    with suppress(OSError):
        os.nice(-15)
    with suppress(OSError):
        os.setsid()
        ahead(os.getpid())
