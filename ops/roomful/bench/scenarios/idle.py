"""What connections cost that only listen, in rooms of ten; and how fast they come."""

import resource
from collections.abc import Iterator
from typing import Final

from roomful.bench.measure import Reading
from roomful.bench.processes import Window, rss_kb
from roomful.bench.subject import Bench
from roomful.bench.tools import Load, Tools, Unusable

CONNECTIONS: Final = 5000
PER_ROOM: Final = 10
IDLE_S: Final = 2
_CROWD: Final = (
    "-n", str(CONNECTIONS), "--rooms", str(CONNECTIONS // PER_ROOM), "--dur", "0",
    "--idle", str(IDLE_S), "--timeout", "60",
)  # fmt: skip
_JOIN: Final = ("--path", "/ws?room=idle-{room}&name={i}", "--expect", '"type":"joined"')


def once(bench: Bench) -> Iterator[Reading]:
    if (tools := bench.tools) is None:
        raise Unusable("It needs the load generator in C: say --tools DIR.")
    _allow_files(CONNECTIONS + 1000)
    ours, window, broker_kb = _node(bench, tools)
    with bench.ceiling("tick") as server, Window(server.pids) as bare_window:
        bare = tools.load(server, *_CROWD, "--path", "/r/{room}")
    foreign = max(window.foreign, bare_window.foreign)
    details = {
        "node_cpu_us_each": ours["server_cpu_us_per_handshake"],
        "broker_cpu_us_each": window.by_name.get("nats-server", 0) * 1e6 / CONNECTIONS,
        "broker_kb_each": broker_kb / CONNECTIONS,
        "idle_node_cores": ours["idle_server_cpu"],
    }
    for figure, unit, field in (
        ("an idle connection, memory", "kB", "rss_kb_per_conn"),
        ("connections with a join", "per s", "handshakes_per_s"),
    ):
        yield Reading(figure, unit, ours[field], {"C": bare[field]}, foreign, details)


def _node(bench: Bench, tools: Tools) -> tuple[Load, Window, float]:
    """What the connections did to the node, and how many kB its broker has grown by."""
    with bench.node() as node:
        broker = [pid for pid in node.pids if pid != node.pid]
        before = sum(map(rss_kb, broker))
        with Window(node.pids) as window:
            ours = tools.load(node, *_CROWD, *_JOIN, pids=[node.pid])
        return ours, window, sum(map(rss_kb, broker)) - before


def _allow_files(wanted: int) -> None:
    """Let this process and its children open so many files, as far as the system permits."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
