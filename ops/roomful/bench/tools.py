"""The load generator and the ceilings in C: compiled from a directory that is named, and run."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Self

from roomful.bench.processes import Server

LOAD_S: Final = 120
"""No load runs longer."""

Mode = Literal["tick", "direct"]
Load = dict[str, Any]


class Unusable(Exception):
    """The tools cannot be compiled, or a load failed; the text says why."""


@dataclass(frozen=True, slots=True)
class Tools:
    """`wsload` opens, feeds and drains WebSockets; `cfan` is a fan-out server in plain C."""

    wsload: Path
    cfan: Path

    @classmethod
    def compiled(cls, sources: Path, folder: Path) -> Self:
        """Compile `wsload.c` and `cfan.c` of `sources` into `folder`. Raises Unusable."""
        return cls(_compiled(sources, folder, "wsload"), _compiled(sources, folder, "cfan"))

    def ceiling(self, port: int, mode: Mode) -> list[str]:
        """The command of a fan-out server: `direct` sends each delivery for itself, `tick` joins
        what one turn of its loop has brought."""
        return [str(self.cfan), str(port), mode]

    def load(self, server: Server, *options: str, pids: Sequence[int] | None = None) -> Load:
        """Run `wsload` against `server`, on the core of this process; CPU and memory are those of
        `pids`, or of all the server's processes. Raises Unusable."""
        measured = ",".join(map(str, server.pids if pids is None else pids))
        command = [str(self.wsload), "--port", str(server.port), "--pid", measured, *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=LOAD_S, check=False)
        try:
            result = json.loads(done.stdout.strip().splitlines()[-1])
        except (IndexError, ValueError):
            raise Unusable(f"{' '.join(command)}: {done.stderr or done.stdout}") from None
        wrong = {name: result.get(name) for name in ("error", "errors", "bad")}
        if not result.get("stalls"):
            # After a stall the generator has written off what came later: its count is no proof.
            wrong["lost"] = result.get("lost")
        if any(wrong.values()) or result["ready"] != result["n"]:
            raise Unusable(f"{' '.join(command)}: {wrong} {result.get('ready')} {done.stderr}")
        return dict(result)


def _compiled(sources: Path, folder: Path, name: str) -> Path:
    target, libraries = folder / name, _libraries(name)
    flags = ("-O2", "-march=native", "-w")
    command: Sequence[str] = ["cc", *flags, "-o", str(target), str(sources / f"{name}.c")]
    try:
        done = subprocess.run([*command, *libraries], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Unusable("There is no C compiler (cc) to compile the tools with.") from None
    if done.returncode:
        raise Unusable(f"Compiling {name}.c failed:\n{done.stderr}")
    return target


def _libraries(name: str) -> list[str]:
    return ["-luring"] if name == "cfan" else []
