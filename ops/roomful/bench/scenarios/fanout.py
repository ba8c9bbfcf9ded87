"""One room in which some speak as fast as everybody hears it, through the log and past it."""

from collections.abc import Iterator, Mapping
from typing import Final

from roomful.bench import said
from roomful.bench.flood import UPGRADED, Flow, Shape, gathered
from roomful.bench.measure import Reading
from roomful.bench.said import Frames
from roomful.bench.subject import STEADY, Bench
from roomful.bench.tools import Mode

SHAPES: Final = {
    "fan-out, 100 members": Shape(100, 1, 16, 16 * 16),
    "fan-out, 1,000 members": Shape(1000, 1, 16, 16 * 16),
    "one message at a time, 100 members": Shape(100),
    "one message at a time, 1,000 members": Shape(1000),
}
HEADER: Final = 4
"""Bytes before the payload of a server's frame that has 126 or more."""


def once(bench: Bench) -> Iterator[Reading]:
    for figure, shape in SHAPES.items():
        yield from on_and_off(bench, figure, shape)


def on_and_off(bench: Bench, figure: str, shape: Shape) -> Iterator[Reading]:
    """The figure with the log, and without."""
    yield _read(bench, figure, shape, said.kept())
    yield _read(bench, f"{figure}, log off", shape, said.ephemeral())


def _read(bench: Bench, figure: str, shape: Shape, frames: Frames) -> Reading:
    with (
        bench.node(None, *STEADY) as node,
        gathered(node.port, shape, frames, shape.paths()) as flood,
    ):
        sample = flood.sample()
        ours = flood.run(bench.seconds, node.pids)
    return fan_out(figure, ours, sample, beside(bench, shape, frames, sample))


def beside(bench: Bench, shape: Shape, frames: Frames, sample: bytes) -> dict[str, Flow]:
    """What goes through, of the same load, where no work is done: in Python, and in C."""
    flows = {}
    with (
        bench.bare(sample, len(frames(1))) as server,
        gathered(server.port, shape, frames, shape.paths()) as flood,
    ):
        flows["bare"] = flood.run(bench.seconds, server.pids)
    if bench.tools is not None:
        direct = shape.on_the_way == 1
        flows["C direct"] = _in_c(bench, "direct", shape, said.raw())
        if not direct:
            flows["C tick"] = _in_c(bench, "tick", shape, said.raw())
            same = said.raw(len(sample) - HEADER)
            flows["C tick, same bytes"] = _in_c(bench, "tick", shape, same)
    return flows


def _in_c(bench: Bench, mode: Mode, shape: Shape, frames: Frames) -> Flow:
    with (
        bench.ceiling(mode) as server,
        gathered(server.port, shape, frames, shape.bare_paths(), UPGRADED) as flood,
    ):
        return flood.run(bench.seconds, server.pids)


def fan_out(figure: str, ours: Flow, sample: bytes, ceilings: Mapping[str, Flow]) -> Reading:
    """Deliveries per second, and what each cost."""
    return Reading(
        figure,
        "deliveries/s",
        ours.deliveries,
        {name: flow.deliveries for name, flow in ceilings.items()},
        max(flow.window.foreign for flow in (ours, *ceilings.values())),
        {
            "messages_per_s": ours.messages,
            **ours.cpu_us(),
            **ours.cpu_us("message"),
            "frame_bytes": len(sample),
            "load_busy": ours.load_busy,
        },
        any(flow.stalled for flow in (ours, *ceilings.values())),
        ours.busy,
    )
