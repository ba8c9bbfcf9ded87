"""What the command line prints: tables for people, JSON for machines."""

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from roomful.config import secret
from roomful.sources import Loaded

View = Mapping[str, Any]

_AGES: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def nodes(listed: Sequence[View], *, as_json: bool) -> None:
    if as_json:
        return _json(listed)
    return _table(
        ("node", "state", "address", ">partitions", ">rooms", ">sessions", "version", ">up for"),
        (
            (n["id"], n["state"], n["address"], n["partitions"], n["rooms"], n["sessions"],
             n["version"], age(n["started_ms"]))
            for n in listed
        ),
    )  # fmt: skip


def drained(view: View, *, as_json: bool) -> None:
    """How far a node is that drains: one line."""
    if as_json:
        return typer.echo(json.dumps(view))
    if view["state"] == "drained":
        return typer.echo(printable(f"{view['id']} is drained: it can be stopped."))
    left = "" if view["left_s"] is None else f", about {view['left_s']:.0f} s left"
    what = f"{view['partitions']} partitions, {view['connections']} clients"
    return typer.echo(printable(f"{view['id']} is {view['state']}: {what}{left}"))


def rooms(listed: Sequence[View], *, as_json: bool) -> None:
    if as_json:
        return _json(listed)
    return _table(
        ("room", ">members", ">seq", ">last event", "owner", ">partition"),
        (
            (r["name"], r["members"], r["seq"], f"{age(r['active_ms'])} ago", r["owner"] or "-",
             r["partition"])
            for r in listed
        ),
    )  # fmt: skip


def members(listing: View, *, as_json: bool) -> None:
    if as_json:
        return _json(listing)
    _table(
        ("user", "name", "session", "node"),
        ((m["user"], m["name"], m["session"], m["node"]) for m in listing["members"]),
    )
    unlisted = listing["count"] - len(listing["members"])
    if unlisted > 0:
        typer.echo(f"and {unlisted} more")
    return None


def ack(answer: View, *, as_json: bool) -> None:
    if as_json:
        return _json(answer)
    what = f"seq {answer['seq']}" if "seq" in answer else "done"
    reply = f" {json.dumps(answer['data'], ensure_ascii=False)}" if "data" in answer else ""
    return typer.echo(printable(f"{what}{reply}"))


def settings(loaded: Loaded, *, as_json: bool) -> None:
    rows = {name: _setting(loaded, name) for name in type(loaded.config).model_fields}
    if as_json:
        return _json({name: {"value": v, "origin": origin} for name, (v, origin) in rows.items()})
    return _table(
        ("setting", "value", "from"),
        ((name, _shown(value), origin) for name, (value, origin) in rows.items()),
    )


def _setting(loaded: Loaded, name: str) -> tuple[Any, str]:
    """A setting's value, never that of a secret, and where it came from."""
    value = getattr(loaded.config, name)
    if value is None or value == ():
        # Left open: show what the node makes of it.
        value = getattr(loaded.config.node, name, value)
    if name == "jwt_algorithms":
        value = loaded.config.auth.algorithms
    if secret(name) and value is not None:
        value = "********"
    if name == "nats" and value is not None:
        value = [without_password(url) for url in value]
    as_it_is = value is None or isinstance(value, int | float | list | tuple)
    plain = value if as_it_is else str(value)
    return plain, loaded.origins.get(name, "default")


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def without_password(url: str) -> str:
    """`url` with what stands before its @ hidden."""
    scheme, found, rest = url.rpartition("://")
    return f"{scheme}{found}****@{rest.rpartition('@')[2]}" if "@" in rest else url


def age(since_ms: int) -> str:
    """How long ago, in the largest unit that fits."""
    seconds = max(0, int(time.time() - since_ms / 1000))
    for length, unit in _AGES:
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return "0 s"


def printable(text: str) -> str:
    """`text` that cannot move the cursor: names are chosen by strangers."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def _table(columns: Iterable[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows; a column whose name begins with > is one of numbers."""
    table = Table(box=SIMPLE, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column[0] == ">" else "left")
    for row in rows:
        table.add_row(*(Text(printable(str(cell)), overflow="fold") for cell in row))
    # What is not shown to somebody is read by a program: then lines are not cut to a width.
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _json(value: object) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))
