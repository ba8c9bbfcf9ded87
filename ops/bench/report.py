"""The figures, as a table to read and as JSON to keep."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.measure import NOISY, Figure


def table(found: Iterable[Figure]) -> Table:
    """One row for each figure and each of its ceilings."""
    out = Table(title="Medians; ratio = value / ceiling, repeat by repeat", title_justify="left")
    for heading in ("figure", "unit"):
        out.add_column(heading)
    for heading in ("value", "spread", "repeats"):
        out.add_column(heading, justify="right")
    out.add_column("beside")
    for heading in ("ceiling", "ratio"):
        out.add_column(heading, justify="right")
    for figure in found:
        for row in _rows(figure):
            out.add_row(*row)
    return out


def _rows(figure: Figure) -> Iterable[Sequence[str]]:
    first = (
        figure.figure, figure.unit, shown(figure.value), f"{figure.spread:.0%}", _repeats(figure),
    )  # fmt: skip
    beside = [
        (name, shown(ceiling.value), f"{ceiling.ratio:.3g}")
        for name, ceiling in figure.ceilings.items()
    ] or [("", "", "")]
    yield (*first, *beside[0])
    for more in beside[1:]:
        yield ("", "", "", "", "", *more)


def _repeats(figure: Figure) -> str:
    noise = f" (noise {figure.foreign:.2f})" if figure.foreign > NOISY else ""
    return f"{len(figure.samples)}{noise}"


def shown(value: float) -> str:
    """Three digits that mean something, thousands apart."""
    if value >= 1000:
        digits = len(str(int(value))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"


def details(found: Iterable[Figure]) -> Table:
    """What else was seen: CPU of each process, latencies, sizes."""
    out = Table(title="Seen beside", title_justify="left")
    out.add_column("figure")
    out.add_column("what")
    out.add_column("median", justify="right")
    for figure in found:
        for name, value in figure.details.items():
            out.add_row(figure.figure, name, shown(value))
    return out


def printed(machine: Mapping[str, str], found: Sequence[Figure], console: Console) -> None:
    console.print(table(found))
    console.print(details(found))
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()))


def saved(machine: Mapping[str, str], found: Sequence[Figure], to: Path) -> None:
    report = {"machine": machine, "figures": [figure.as_json() for figure in found]}
    to.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
