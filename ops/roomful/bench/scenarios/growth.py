"""What a delivery costs as members, rooms and nodes become more: CPU of nodes and broker."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from roomful.bench import said
from roomful.bench.crowd import Crowd, Room
from roomful.bench.flood import JOINED, Flood, Flow, InTurn, Shape, gathered
from roomful.bench.measure import Reading
from roomful.bench.plot import named
from roomful.bench.processes import allow_files
from roomful.bench.said import Frames
from roomful.bench.sharing import evened_out
from roomful.bench.subject import STEADY, Bench

MEMBERS: Final = (100, 300, 1000, 3000, 10_000)
ROOMS: Final = (10, 100, 1000, 10_000)
NODES: Final = (1, 2, 3, 4)
FLOOD: Final = 16 * 16
IN_TURN: Final = 10
"""On the way over all rooms, so that few and many rooms have as little to join."""
OVER_NODES: Final = 1000
"""Members of one room: spread over all nodes, or on each of them."""


def once(bench: Bench) -> Iterator[Reading]:
    allow_files(max(*MEMBERS, *ROOMS) + 1000)
    for log, frames in (("log on", said.kept()), ("log off", said.ephemeral())):
        for members in MEMBERS:
            flow = _on_one_node(bench, Shape(members, 1, 16, FLOOD), frames)
            yield _reading(f"members of a room, {log}", members, flow)
    for rooms in ROOMS:
        flow = _on_one_node(bench, Shape(rooms, rooms, 1, IN_TURN, InTurn), said.kept())
        yield _reading("rooms of one member", rooms, flow)
    for nodes in NODES:
        yield _reading("nodes, the same crowd", nodes, _on_nodes(bench, nodes, OVER_NODES))
    for nodes in NODES:
        crowd = OVER_NODES * nodes
        yield _reading("nodes, a crowd on each", nodes, _on_nodes(bench, nodes, crowd))


def _on_one_node(bench: Bench, shape: Shape, frames: Frames) -> Flow:
    with (
        bench.node(None, *STEADY) as node,
        gathered(node.port, shape, frames, shape.paths()) as flood,
    ):
        return flood.run(bench.seconds, node.pids)


def _on_nodes(bench: Bench, count: int, members: int) -> Flow:
    with ExitStack() as stack:
        broker = stack.enter_context(bench.broker())
        flags = ("--nats", f"nats://127.0.0.1:{broker.port}", *STEADY)
        nodes = [stack.enter_context(bench.node(None, *flags)) for _ in range(count)]
        evened_out(nodes[0].port, count)
        crowd = stack.enter_context(Crowd.gathering())
        paths = list(Shape(members).paths())
        lines = [
            line
            for number, node in enumerate(nodes)
            for line in crowd.enter(node.port, paths[number::count], JOINED)
        ]
        crowd.settle()
        room = Room(lines, said.MARK)
        # Speakers on every node, as members are.
        flood = Flood(crowd, {room: lines[:: len(lines) // 16][:16]}, FLOOD, said.kept())
        return flood.run(bench.seconds, [server.pid for server in (*nodes, broker)])


def _reading(series: str, size: int, flow: Flow) -> Reading:
    each = flow.cpu_us()
    details = {**each, "deliveries_per_s": flow.deliveries, "core": flow.busy}
    return Reading(
        named(series, size), "µs/delivery", sum(each.values()), {}, flow.window.foreign, details,
        flow.stalled,
    )  # fmt: skip
