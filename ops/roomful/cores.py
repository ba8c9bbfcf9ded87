"""How many cores this process may use: not what the machine has, in a container."""

import os
from contextlib import suppress
from math import ceil
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Cores that this process may run on, or fewer if its group is given no more of their time."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return min(cores, _granted() or cores)


def _granted() -> int | None:
    """The time given to this process' group, in cores; None if it is not limited, or not known."""
    with suppress(OSError, ValueError):
        given, period = QUOTA.read_text().split()
        # "max" is no number.
        return max(1, ceil(int(given) / int(period)))
    return None
