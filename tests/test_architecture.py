"""The laws of the code that no type checker keeps: who may import what, how long things may be."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {
    "roomful_protocol": "protocol/roomful_protocol",
    "roomful_client": "protocol/roomful_client",
    "roomful_rooms": "rooms/roomful_rooms",
    "roomful_nodes": "nodes/roomful_nodes",
    "roomful": "ops/roomful",
}
BELOW = {
    "roomful_protocol": set[str](),
    "roomful_client": {"roomful_protocol"},
    "roomful_rooms": {"roomful_protocol"},
    "roomful_nodes": {"roomful_protocol", "roomful_rooms"},
    "roomful": {"roomful_protocol", "roomful_client", "roomful_rooms", "roomful_nodes"},
}
"""What each package may import, besides itself."""

MAY_IMPORT = {
    "nats": r"roomful_nodes\.nats_\w+",
    "aiohttp": (
        r"roomful_nodes\.(access|entrance|health|http_api|pages|siblings|site|websocket)"
        r"|roomful_client\.\w+|roomful\.operators_api|roomful\.check\.(visitor|serving)"
        r"|roomful\.bench\.aiohttp_alone"
    ),
    "msgpack": r"roomful_protocol\.codecs\.\w+",
    "orjson": r"roomful_protocol\.codecs\.\w+",
    "prometheus_client": r"roomful_nodes\.(metrics|tally|health|node|siblings)",
    "jwt": r"roomful_nodes\.auth",
    "pydantic": r"roomful\.(config|flags|sources)",
    "pydantic_settings": r"roomful\.(config|flags|sources)",
    "typer": r"roomful\.(cli|drain|flags|look|tables|tail|(bench|check)\.command)",
    "rich": r"roomful\.(tables|(bench|check)\.report)",
    "uvloop": r"roomful\.(loop|bench\.running)",
}
"""Libraries, and the modules that alone know them."""

OF_THE_MACHINE = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "sleep"},
    "datetime": {"now", "utcnow", "today"},
    "random": None,
    "secrets": None,
    "uuid": {"uuid1", "uuid4"},
    "os": {"urandom", "environ", "getenv"},
}
"""Time, chance and the environment, which are handed down from `ops`. None: all of the module.
The NATS twins may roll dice for their pauses and names: nobody simulates a real broker."""

FILE_LINES = 300
FUNCTION_LINES = 40


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the product by its dotted name, parsed."""
    found = {}
    for package, folder in FLOORS.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            found[name] = ast.parse(file.read_text(), str(file))
    return found


def imports(module: str) -> Iterator[str]:
    """What a module imports: dotted names, of a module or of something in one."""
    for node in ast.walk(modules()[module]):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(base), names=names, level=0):
                yield from (f"{base}.{alias.name}" for alias in names)
            case ast.ImportFrom():
                pytest.fail(f"{module}: write imports in full")
            case _:
                pass


def known(name: str) -> str | None:
    """The module of ours that an imported name is or is in."""
    while name and name not in modules():
        name = name.rpartition(".")[0]
    return name or None


def tracked() -> list[Path]:
    """The files of the repository, told without git: an archive of it has none."""
    passed_over = {".git", ".venv", "build", "dist", "__pycache__"}
    return [
        file
        for file in sorted(ROOT.rglob("*"))
        if file.is_file()
        and not passed_over.intersection(parts := file.relative_to(ROOT).parts)
        and not any(re.fullmatch(r"\.\w+_cache|\.hypothesis|\.roomful", part) for part in parts)
    ]


# -- imports ---------------------------------------------------------------------------------------


def test_imports_run_downward() -> None:
    assert [
        f"{module} imports {name}"
        for module in modules()
        for name in imports(module)
        if (top := name.partition(".")[0]) in FLOORS
        and top not in BELOW[module.partition(".")[0]] | {module.partition(".")[0]}
    ] == []


def test_libraries_stay_where_they_are_known() -> None:
    assert [
        f"{module} imports {name}"
        for module in modules()
        for name in imports(module)
        if (allowed := MAY_IMPORT.get(name.partition(".")[0])) is not None
        and not re.fullmatch(allowed, module)
    ] == []


@pytest.mark.parametrize("package", FLOORS)
def test_no_two_modules_import_each_other(package: str) -> None:
    graph = {
        module: {
            other
            for name in imports(module)
            # `from package import x` leads to the package's own __init__, which shows its parts.
            if (other := known(name)) is not None and other not in (module, package)
        }
        for module in modules()
        if module.startswith(f"{package}.")
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as cycle:
        pytest.fail(" -> ".join(cycle.args[1]))


# -- purity ----------------------------------------------------------------------------------------


def test_time_and_chance_are_handed_down() -> None:
    assert [
        f"{module} uses {name}"
        for module in modules()
        if module.startswith(("roomful_protocol", "roomful_rooms", "roomful_nodes"))
        for name in asked_of_the_machine(module)
        if not (name.startswith("secrets.") and module.startswith("roomful_nodes.nats_"))
    ] == []


def asked_of_the_machine(module: str) -> Iterator[str]:
    """What a module imports, or calls by its full name, that only `ops` may use."""
    attributes = (
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(modules()[module])
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    )
    for name in (*imports(module), *attributes):
        library, _, what = name.partition(".")
        if library in OF_THE_MACHINE:
            banned = OF_THE_MACHINE[library]
            if banned is None or what in banned:
                yield name


def test_the_protocol_does_no_io() -> None:
    outside = {"asyncio", "socket", "ssl", "threading", "subprocess", "pathlib", "structlog"}
    for module, tree in modules().items():
        if module.startswith("roomful_protocol"):
            used = {name.partition(".")[0] for name in imports(module)}
            assert not used & outside, module
            waits = (ast.AsyncFunctionDef, ast.Await)
            assert not any(isinstance(node, waits) for node in ast.walk(tree)), module


def test_nothing_is_fired_and_forgotten() -> None:
    assert [
        f"{module}:{node.lineno}: who owns that task?"
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and (call := ast.unparse(node.value.func)).endswith((".create_task", ".ensure_future"))
        # An asyncio.TaskGroup waits for its tasks.
        and call != "group.create_task"
    ] == []


# -- sizes and files -------------------------------------------------------------------------------


def test_files_are_short() -> None:
    kinds = {".py", ".js", ".css", ".html"}
    sources = [file for file in tracked() if file.suffix in kinds and "tests" not in file.parts]
    lengths = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in sources}
    assert {name: lines for name, lines in lengths.items() if lines > FILE_LINES} == {}


def test_functions_are_short() -> None:
    lengths = {
        f"{module}: {node.name}": code_lines(node)
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES} == {}


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the function's code: its docstring is not counted."""
    first, *rest = function.body
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    start = (rest[0] if rest else first) if documented else first
    return (function.end_lineno or 0) - start.lineno + 1


def test_modules_say_what_they_are_for() -> None:
    assert [module for module, tree in modules().items() if not ast.get_docstring(tree)] == []


@pytest.mark.parametrize("folder", FLOORS.values())
def test_packages_are_typed(folder: str) -> None:
    assert (ROOT / folder / "py.typed").is_file()


FORBIDDEN = {
    "a package registry's host": r"\b(?:pypi\.org|pythonhosted\.org|registry\.npmjs|npmjs\.com)\b",
    "a path of somebody's machine": r"(?<![\w.])/(?:work|root|home)/\w|/tmp/[a-z]\b",
    "an index for packages": r"--(?:extra-)?index-url|--find-links|--trusted-host",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_of_one_machine_is_kept(what: str) -> None:
    banned = re.compile(FORBIDDEN[what])
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for file in tracked()
        if file != Path(__file__).resolve() and file.suffix not in (".png", ".svg")
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1)
        if banned.search(line)
    ]
    assert found == []
