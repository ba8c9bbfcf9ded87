"""The figures, as tables to read and as JSON to keep; and how far the bench is."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from roomful.bench.compare import Change
from roomful.bench.machine import Machine
from roomful.bench.measure import NOISY, SATURATED, Figure, Reading
from roomful.bench.scenarios import Scenario
from roomful.bench.suite import Told

WIDTH: Final = 140
"""Columns of the tables where there is no terminal to ask."""


@dataclass(frozen=True, slots=True)
class Result:
    """What `--json` keeps: the figures, and the machine they were measured on."""

    machine: Machine
    figures: tuple[Figure, ...]

    def as_json(self) -> dict[str, Any]:
        return {"machine": self.machine, "figures": [figure.as_json() for figure in self.figures]}

    @classmethod
    def of_json(cls, written: Mapping[str, Any]) -> Self:
        """What `as_json` made. Raises KeyError or TypeError if it is something else."""
        return cls(written["machine"], tuple(map(Figure.of_json, written["figures"])))


# -- while it runs ---------------------------------------------------------------------------------


class Telling(Told):
    """Prints every reading, and moves a bar on, on a terminal."""

    def __init__(self, progress: Progress, names: Sequence[str], repeats: int) -> None:
        self._progress, self._repeats = progress, repeats
        self._bar = progress.add_task("", total=len(names) * repeats)
        self._label, self._done = "", 0

    def begins(self, name: str, attempt: int) -> None:
        self._label = f"{name} {attempt}"
        # The attempts beyond those wanted make up for noisy ones: they move nothing on.
        at = self._done + min(attempt - 1, self._repeats)
        self._progress.update(self._bar, description=self._label, completed=at)

    def ended(self, name: str) -> None:
        self._done += self._repeats
        self._progress.update(self._bar, completed=self._done)

    def read(self, reading: Reading) -> None:
        noise = f"  (others: {reading.foreign:.2f} cores)" if reading.noisy else ""
        if reading.stalled:
            noise = "  (for a moment nothing went on)"
        value = f"{shown(reading.value)} {reading.unit}"
        self._say(f"{self._label}: {reading.figure}: {value}{noise}")

    def failed(self, name: str, problem: str) -> None:
        self._say(f"{self._label or name}: {problem}", "red")

    def _say(self, line: str, style: str | None = None) -> None:
        console = self._progress.console
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def progress(names: Sequence[str], repeats: int) -> Iterator[Telling]:
    """Show how it goes, on stderr, for as long as this is entered."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        yield Telling(bar, names, repeats)


# -- in the end ------------------------------------------------------------------------------------


def print_result(result: Result) -> None:
    console = _console()
    console.print(figures_table(result.figures))
    if not all(figure.saturated for figure in result.figures):
        console.print(
            f"! The server used less than {SATURATED:.0%} of its core: it may have been the load, "
            "or the waiting for something, that was measured.",
            style="yellow",
        )
    console.print(details_table(result.figures))
    console.print(", ".join(f"{name} {value}" for name, value in result.machine.items()))


def print_comparison(changes: Sequence[Change]) -> None:
    console = _console()
    table = _table("figure", "what", ">before", ">after", ">change")
    figure = ""
    for change in changes:
        style = "bold" if change.sure else "dim"
        first = "" if change.figure == figure else change.figure
        figure = change.figure
        numbers = shown(change.before), shown(change.after), f"{change.part:+.0%}"
        table.add_row(first, change.what, *numbers, style=style)
    console.print(table)
    console.print("Dim: no more than the repeats differ among themselves; or there was only one.")


def print_scenarios(scenarios: Mapping[str, Scenario]) -> None:
    table = _table("scenario", "what")
    for name, scenario in scenarios.items():
        table.add_row(name, scenario.about)
    _console().print(table)


def figures_table(found: Iterable[Figure]) -> Table:
    """One row for each figure and each of its ceilings."""
    out = _table(
        "figure", "unit", ">value", ">spread", ">repeats", ">core", "beside", ">ceiling", ">ratio"
    )
    for figure in found:
        for row in _rows(figure):
            out.add_row(*row)
    return out


def _rows(figure: Figure) -> Iterable[Sequence[str]]:
    first = (
        figure.figure, figure.unit, shown(figure.value), f"{figure.spread:.0%}",
        _repeats(figure), _core(figure),
    )  # fmt: skip
    beside = [
        (name, shown(ceiling.value), f"{ceiling.ratio:.3g}")
        for name, ceiling in figure.ceilings.items()
    ] or [("", "", "")]
    yield (*first, *beside[0])
    for more in beside[1:]:
        yield (*("" for _ in first), *more)


def _repeats(figure: Figure) -> str:
    noise = f" (noise {figure.foreign:.2f})" if figure.foreign > NOISY else ""
    if figure.stalled:
        noise = " (noise: it stalled)"
    return f"{len(figure.samples)}{noise}"


def _core(figure: Figure) -> str:
    if figure.busy is None:
        return ""
    return f"{figure.busy:.0%}" if figure.saturated else f"! {figure.busy:.0%}"


def details_table(found: Iterable[Figure]) -> Table:
    """What else was seen: CPU of each process, latencies, sizes."""
    out = _table("figure", "seen beside (medians)")
    for figure in found:
        seen = (f"{name} {shown(value)}" for name, value in figure.details.items())
        out.add_row(figure.figure, ", ".join(seen))
    return out


def shown(value: float) -> str:
    """Three digits that mean something, thousands apart."""
    if value >= 1000:
        digits = len(str(int(value))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"


def _table(*columns: str) -> Table:
    """A column whose name begins with > is one of numbers."""
    table = Table(box=SIMPLE, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column[0] == ">" else "left")
    return table


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
