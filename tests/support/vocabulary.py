"""The log events that the source knows, found by reading it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("protocol", "rooms", "nodes", "ops/roomful")
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}


@dataclass
class Logged:
    """How one event is logged, over all places: by which methods, with which fields."""

    methods: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)
    places: list[str] = field(default_factory=list)


def logged() -> dict[str, Logged]:
    """Every event by its name. Fails where the name is not written out."""
    found: dict[str, Logged] = {}
    for folder in SOURCES:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for call in _calls(ast.parse(file.read_text())):
                place = f"{file.relative_to(ROOT)}:{call.lineno}"
                for name in _names(call, place):
                    event = found.setdefault(name, Logged())
                    event.methods.add(_method(call))
                    # A traceback is shown under its own name.
                    event.fields |= {word.arg for word in call.keywords if word.arg} - {"exc_info"}
                    event.places.append(place)
    return found


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in LEVELS
            and _is_log(node.func.value)
        ):
            yield node


def _is_log(of: ast.expr) -> bool:
    name = of.attr if isinstance(of, ast.Attribute) else of.id if isinstance(of, ast.Name) else ""
    return name.strip("_") == "log"


def _method(call: ast.Call) -> str:
    assert isinstance(call.func, ast.Attribute)
    return call.func.attr


def _names(call: ast.Call, place: str) -> list[str]:
    given = call.args[1 if _method(call) == "log" else 0]
    choices = [given.body, given.orelse] if isinstance(given, ast.IfExp) else [given]
    names = [each.value for each in choices if isinstance(each, ast.Constant)]
    assert len(names) == len(choices), f"{place}: the event's name must be written out"
    return [str(name) for name in names]
