"""One worker and two on one port, free to use every core: what the second one adds.

The load and the broker want their part of the cores, too, so the load sleeps when nothing comes.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from roomful.bench.closed_loop import ClosedLoop
from roomful.bench.measure import Reading
from roomful.bench.processes import CORES, Server, Window, ahead
from roomful.bench.running import run
from roomful.bench.sharing import evened_out
from roomful.bench.subject import STEADY, Bench
from roomful.bench.talk import asking, closed, joined

ROOMS: Final = 200
ON_THE_WAY: Final = 256
KINDS: Final[Mapping[str, str]] = {
    "thinking for 1 ms a message": "heavy",
    "chat": "chat",
}
"""What is done, and how its rooms' names begin."""


def once(bench: Bench) -> Iterator[Reading]:
    for what, kind in KINDS.items():
        one, alone = _rate(bench, 1, kind)
        two, window = _rate(bench, 2, kind)
        details = _details(one, alone, "one") | _details(two, window, "two")
        foreign = max(alone.foreign, window.foreign)
        yield Reading(
            f"two workers, {what}", "messages/s", two, {"one worker": one}, foreign, details
        )


def _details(rate: float, window: Window, workers: str) -> dict[str, float]:
    """The cores that were busy with it, and what each message cost."""
    used = {part: seconds / window.seconds for part, seconds in window.by_part.items()}
    return {
        **{f"{workers}_{part}_cores": cores for part, cores in used.items()},
        **{f"{workers}_{part}_cpu_us": cores / rate * 1e6 for part, cores in used.items()},
    }


def _rate(bench: Bench, workers: int, kind: str) -> tuple[float, Window]:
    flags = ("--workers", str(workers), "--app", "roomful.bench.heavy:Heavy")
    with bench.node(None, *STEADY, *flags, cores=CORES) as node:
        evened_out(node.port, workers)
        for pid in node.pids:
            # Each worker, and the broker, has a session of its own.
            ahead(pid)
        return run(_acked(node, kind, bench.seconds))


async def _acked(node: Server, kind: str, seconds: float) -> tuple[float, Window]:
    sockets = [
        (await joined(node.port, f"{kind}-{number}", f"m{number}"))[0] for number in range(ROOMS)
    ]
    loop = ClosedLoop(ON_THE_WAY)
    asking(loop, sockets)
    rate = await loop.rate(seconds, node.pids)
    await closed(sockets)
    return rate
