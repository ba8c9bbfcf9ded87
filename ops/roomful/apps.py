"""`--app module:object`: which classes of an author serve which rooms."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from traceback import extract_tb
from types import ModuleType

from roomful.failure import Failure
from roomful_rooms.room import Room

Kind = tuple[str, type[Room]]


def load_app(spec: str) -> list[Kind]:
    """Patterns of names and their classes, in the author's order; the first that fits wins.

    `spec` names a `Room` class (which says itself what it serves), a list of these, or a mapping
    from patterns to classes. The current directory is searched first. Raises Failure.
    """
    module_name, colon, path = spec.partition(":")
    if not (module_name and colon and path):
        raise Failure(f"--app {spec} must be module:object, as in --app polls:Poll.")
    kinds = list(_kinds(_named(_imported(module_name), path, spec), spec))
    if not kinds:
        raise Failure(f"--app {spec} names no rooms: it is empty.")
    return kinds


def _imported(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        # A module that the author's own code lacks is another matter than the wrong name.
        if missing.name is not None and f"{name}.".startswith(f"{missing.name}."):
            raise Failure(
                f"There is no module {missing.name} in {here} or among what is installed:"
                " check --app, or start roomful in the directory that has it."
            ) from None
        raise Failure(_broken(name, missing)) from missing
    except Exception as error:
        raise Failure(_broken(name, error)) from error


def _broken(name: str, error: Exception) -> str:
    """Where importing went wrong: the innermost line, as that is where to look."""
    at = extract_tb(error.__traceback__)[-1]
    line = error.lineno if isinstance(error, SyntaxError) else at.lineno
    file = error.filename if isinstance(error, SyntaxError) else at.filename
    return f"Importing {name} failed in {file}, line {line}: {type(error).__name__}: {error}."


def _named(module: ModuleType, path: str, spec: str) -> object:
    found: object = module
    for part in path.split("."):
        if not hasattr(found, part):
            raise Failure(f"The module {module.__name__} has no {path}: check --app {spec}.")
        found = getattr(found, part)
    return found


def _kinds(found: object, spec: str) -> Iterator[Kind]:
    if isinstance(found, Mapping):
        for pattern, kind in found.items():
            if not isinstance(pattern, str):
                raise Failure(f"--app {spec}: {pattern!r} is no pattern; it must be a string.")
            yield pattern, _room(kind, spec)
    else:
        each = found if isinstance(found, Iterable) and not isinstance(found, type) else [found]
        for kind in each:
            room = _room(kind, spec)
            yield room.rooms, room


def _room(kind: object, spec: str) -> type[Room]:
    if isinstance(kind, type) and issubclass(kind, Room):
        return kind
    raise Failure(
        f"--app {spec}: {kind!r} is no Room class; name one, a list of them,"
        " or a mapping of patterns to them."
    )
