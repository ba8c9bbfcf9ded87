"""What the figures were measured on: they mean little without it."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

from roomful.bench.processes import CORES, binary

Machine = Mapping[str, str]
PACKAGES: Final = ("roomful", "aiohttp", "uvloop", "orjson", "msgpack", "msgspec", "nats-py")


def described() -> Machine:
    """Versions, the machine, and how busy it is, by name."""
    load = " ".join(f"{average:.2f}" for average in os.getloadavg())
    return {
        "when": time.strftime("%Y-%m-%d %H:%M"),
        "commit": _said("git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "nats-server": _broker(),
        "kernel": platform.release(),
        "cpu": _cpu(),
        "cores": str(len(CORES)),
        "load before": load,
    }


def _broker() -> str:
    program = binary("nats-server", Path(sys.executable).parent)
    return _said(program, "--version").rpartition(" ")[2] if program else ""


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()
