"""Messages to one user on another node, and what it costs that there are still others."""

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from roomful.bench import said
from roomful.bench.crowd import Crowd, Room
from roomful.bench.flood import Flood, Flow
from roomful.bench.measure import Reading
from roomful.bench.scenarios.rooms import acked
from roomful.bench.sharing import evened_out
from roomful.bench.subject import STEADY, Bench

ON_THE_WAY: Final = 100
BYSTANDERS: Final = (0, 1, 2, 4)
"""Nodes that do not hold the user."""
TARGET_PER_S: Final = 25_000.0
_HELLO: Final = b'"type":"hello"'
_SESSION: Final = re.compile(rb'"session":"([^"]+)"')
_USER: Final = b'{"user":"bob"}'


def once(bench: Bench) -> Iterator[Reading]:
    yield _read(bench, "to a session on another node", 0, by_session=True)
    for bystanders in BYSTANDERS:
        more = f", among {bystanders} more" if bystanders else ""
        yield _read(bench, f"to a user on another node{more}", bystanders)


def _read(bench: Bench, figure: str, bystanders: int, *, by_session: bool = False) -> Reading:
    with ExitStack() as stack:
        broker = stack.enter_context(bench.broker())
        flags = ("--nats", f"nats://127.0.0.1:{broker.port}", *STEADY)
        here, there, *others = (
            stack.enter_context(bench.node(None, *flags)) for _ in range(2 + bystanders)
        )
        evened_out(here.port, 2 + bystanders)
        crowd = stack.enter_context(Crowd.gathering())
        [bob] = crowd.enter(there.port, ["/ws?user=bob&name=bob"], _HELLO)
        [ann] = crowd.enter(here.port, ["/ws?user=ann&name=ann"], _HELLO)
        crowd.settle()
        session = _SESSION.search(bob.greeting)
        target = b'{"session":"%b"}' % session[1] if by_session and session else _USER
        flood = Flood(crowd, {Room([bob], said.MARK): [ann]}, ON_THE_WAY, said.to(target))
        pids = [one.pid for one in (here, there, *others, broker)]
        ours = flood.run(bench.seconds, pids)
    read = acked(figure, ours, {"target": TARGET_PER_S}, ours.window.foreign)
    return replace(read, details={**read.details, **_apart(ours, [one.pid for one in others])})


def _apart(ours: Flow, others: Sequence[int]) -> dict[str, float]:
    """What the nodes that take part cost for each message, without those that do not; and what
    these used of the core while nothing was for them."""
    window, count = ours.window, max(ours.messages * ours.window.seconds, 1)
    beside = sum(window.each[pid] for pid in others)
    cost = {"node_cpu_us_per_message": (window.by_part["node"] - beside) * 1e6 / count}
    return {**cost, "bystanders_cores": beside / window.seconds}
