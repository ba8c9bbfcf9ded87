"""`roomful bench`: what it is called with."""

import json as json_of
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from roomful.bench import machine, report
from roomful.bench.compare import compared
from roomful.bench.plot import drawn, panels
from roomful.bench.processes import CORES
from roomful.bench.scenarios import SCENARIOS
from roomful.bench.subject import Bench
from roomful.bench.suite import Suite
from roomful.bench.tools import Tools, Unusable
from roomful.failure import Failure

REPEATS: Final = 3
QUICK_S: Final = 1.0

Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SCENARIO]...", help="What to measure; none is everything."),
]
Compared = Annotated[
    tuple[Path, Path] | None,
    typer.Option(metavar="BEFORE AFTER", help="Measure nothing: show two results of --json."),
]


def bench(
    scenarios: Names = None,
    listed: Annotated[bool, typer.Option("--list", help="List the scenarios.")] = False,
    repeats: Annotated[
        int, typer.Option(min=1, max=20, help="Quiet repeats to make of each.")
    ] = REPEATS,
    quick: Annotated[bool, typer.Option(help="Once, quiet or not; windows of a second.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw what growth has measured into this SVG.")
    ] = None,
    compare: Compared = None,
    tools: Annotated[
        Path | None, typer.Option(help="A folder with cfan.c, a server in C to compare with.")
    ] = None,
) -> None:
    """Measure on this machine how fast a node is, and what it costs."""
    if listed:
        return report.print_scenarios(SCENARIOS)
    if compare is not None:
        before, after = map(_read, compare)
        return report.print_comparison(compared(before.figures, after.figures))
    if sys.platform != "linux":
        raise Failure("roomful bench reads /proc and pins processes to cores: it needs Linux.")
    if len(CORES) < 2:
        raise Failure("roomful bench needs two cores: one for the node, one for the load.")
    names = _known(scenarios or ())
    for file in (json, plot):
        if file is not None and not file.absolute().parent.is_dir():
            # To be told now, not after half an hour.
            raise Failure(f"{file} cannot be written: there is no such folder.")
    described = machine.described()
    with tempfile.TemporaryDirectory(prefix="roomful-bench-") as made:
        folder = Path(made)
        subject = Bench(folder, _tools(tools, folder), *((QUICK_S,) if quick else ()))
        wanted, attempts = (1, 1) if quick else (repeats, 2 * repeats)
        with report.progress(names, wanted) as told:
            found, failed = Suite(subject, wanted, attempts).run(names, told)
    result = report.Result(described, tuple(found))
    report.print_result(result)
    if json is not None:
        json.write_text(json_of.dumps(result.as_json(), indent=2, ensure_ascii=False) + "\n")
    if plot is not None:
        plot.write_text(drawn(panels(result.figures), "µs per delivery"))
    if failed:
        raise Failure(f"Not measured: {', '.join(failed)}.")
    return None


def _known(names: Sequence[str]) -> list[str]:
    """The scenarios to run, each once. Raises Failure for one that there is not."""
    for name in names:
        if name not in SCENARIOS:
            raise Failure(f"There is no scenario {name}; there are {', '.join(SCENARIOS)}.")
    return list(dict.fromkeys(names)) or list(SCENARIOS)


def _tools(sources: Path | None, folder: Path) -> Tools | None:
    try:
        return None if sources is None else Tools.compiled(sources, folder)
    except Unusable as problem:
        raise Failure(f"--tools {sources}: {problem}") from None


def _read(file: Path) -> report.Result:
    """A file of --json. Raises Failure if it is none."""
    try:
        return report.Result.of_json(json_of.loads(file.read_text()))
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise Failure(f"{file} was not written by roomful bench --json.") from None
