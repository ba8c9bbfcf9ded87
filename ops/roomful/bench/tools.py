"""The ceiling in C: a fan-out server, compiled from a directory that is named."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

Mode = Literal["tick", "direct"]


class Unusable(Exception):
    """The tools cannot be compiled; the text says why."""


@dataclass(frozen=True, slots=True)
class Tools:
    """`cfan` is a WebSocket server in plain C that sends to everybody what one of them says."""

    cfan: Path

    @classmethod
    def compiled(cls, sources: Path, folder: Path) -> Self:
        """Compile `cfan.c` of `sources` into `folder`. Raises Unusable."""
        target = folder / "cfan"
        command: Sequence[str] = (
            "cc", "-O2", "-march=native", "-w", "-o", str(target), str(sources / "cfan.c"),
            "-luring",
        )  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise Unusable("There is no C compiler (cc) to compile the tools with.") from None
        if done.returncode:
            raise Unusable(f"Compiling cfan.c failed:\n{done.stderr}")
        return cls(target)

    def ceiling(self, port: int, mode: Mode) -> list[str]:
        """The command of a fan-out server: `direct` sends each delivery for itself, `tick` joins
        what one turn of its loop has brought."""
        return [str(self.cfan), str(port), mode]
