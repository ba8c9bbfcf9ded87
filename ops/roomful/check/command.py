"""`roomful check`: what it is called with."""

import shutil
from pathlib import Path
from random import SystemRandom
from tempfile import mkdtemp
from typing import Annotated, Final

import typer

from roomful.check import crowd, faults, report
from roomful.check.cluster import Shape
from roomful.check.crowd import Scale
from roomful.check.trial import Design, Result, Trial
from roomful.failure import Failure
from roomful.logs import configure
from roomful.loop import run

LOCAL_GRACE_S: Final = 6.0
USUAL_GRACE_S: Final = 15.0
KINDS: Final = (*faults.FAULTS, *crowd.FAULTS)

Urls = Annotated[
    list[str] | None,
    typer.Option("--url", help="A node of the cluster to check; none starts one here."),
]
Faults = Annotated[
    str | None,
    typer.Option(help=f"What may happen, with commas: {', '.join(KINDS)}; none is 'none'."),
]


def check(
    url: Urls = None,
    minutes: Annotated[float, typer.Option(min=0.05, help="How long to talk.")] = 1,
    seed: Annotated[int | None, typer.Option(min=0, help="Decides what happens.")] = None,
    faults: Faults = None,
    nodes: Annotated[int, typer.Option(min=1, max=16, help="Nodes to start.")] = 3,
    clients: Annotated[int, typer.Option(min=1, max=500, help="Clients at a time.")] = 24,
    rooms: Annotated[int, typer.Option(min=1, max=100, help="Rooms.")] = 8,
    rate: Annotated[float, typer.Option(min=0.1, help="Messages a second, of all.")] = 120,
    lease_s: Annotated[float, typer.Option(min=2, help="The lease of nodes started here.")] = 5,
    grace_s: Annotated[
        float | None, typer.Option(min=2, help="The cluster's grace_s; of nodes started here, too.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="ROOMFUL_TOKEN", help="With --url: the admin token.")
    ] = None,
    client_token: Annotated[
        str | None,
        typer.Option(envvar="ROOMFUL_CLIENT_TOKEN", help="With --url: a client's token (JWT)."),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="Keep histories and logs here; else only if it fails.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Prove on a cluster, while things fail, that Roomful keeps its promises."""
    urls = tuple(one.rstrip("/") for one in url or ())
    grace = grace_s or (USUAL_GRACE_S if urls else LOCAL_GRACE_S)
    design = Design(
        SystemRandom().randrange(10**6) if seed is None else seed,
        minutes * 60,
        Scale(clients, rooms, rate, grace),
        _kinds(faults, urls),
        Shape(nodes, lease_s, grace),
        _checked(urls),
        token,
        client_token,
    )
    typer.echo(f"seed {design.seed}", err=True)
    folder = Path(mkdtemp(prefix="roomful-check-")) if keep is None else keep
    folder.mkdir(parents=True, exist_ok=True)
    result = _run(design, folder.resolve())
    kept = folder if keep is not None or not result.verdict.good else None
    if kept is not None:
        report.keep(result, kept)
    else:
        shutil.rmtree(folder)
    report.verdict(result, kept, _again(design, minutes), as_json=json)
    if not result.verdict.good:
        raise typer.Exit(1)


def _kinds(given: str | None, urls: tuple[str, ...]) -> frozenset[str]:
    """Raises Failure for one that there is not, or that takes a cluster of our own."""
    possible = crowd.FAULTS if urls else KINDS
    if given is None:
        return frozenset(possible)
    wanted = frozenset(kind.strip() for kind in given.split(",") if kind.strip()) - {"none"}
    for kind in sorted(wanted.difference(possible)):
        why = "needs a cluster of its own: leave out --url" if kind in KINDS else "is not known"
        raise Failure(f"--faults {kind} {why}; there are {', '.join(possible)}.")
    return wanted


def _checked(urls: tuple[str, ...]) -> tuple[str, ...]:
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise Failure(f"--url {url} must begin with http:// or https://.")
    return urls


def _run(design: Design, folder: Path) -> Result:
    with (folder / "check.log").open("w", buffering=1) as log, report.shown() as progress:
        configure("json", "info", node="check", stream=log)
        try:
            return run(Trial(design, folder, progress).run())
        except TimeoutError:
            raise Failure(
                f"The check hangs while {progress.phase}: its files are in {folder}."
            ) from None
        except KeyboardInterrupt:
            raise Failure(f"Interrupted; its files are in {folder}.") from None


def _again(design: Design, minutes: float) -> list[str]:
    """The command that makes the same plan once more. Processes and networks do not repeat
    themselves to the microsecond; what is said and what is broken, and when, does."""
    scale, shape = design.scale, design.shape
    options: dict[str, object] = {
        "minutes": f"{minutes:g}", "seed": design.seed, "clients": scale.clients,
        "rooms": scale.rooms, "rate": f"{scale.rate:g}", "grace-s": f"{scale.grace_s:g}",
        "faults": ",".join(kind for kind in KINDS if kind in design.faults) or "none",
    }  # fmt: skip
    if not design.urls:
        options |= {"nodes": shape.nodes, "lease-s": f"{shape.lease_s:g}"}
    given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    urls = [part for url in design.urls for part in ("--url", url)]
    return ["roomful", "check", *given, *urls]
