"""Acked messages per second: into one hot room, and spread over many rooms."""

from collections.abc import Iterator
from typing import Final

from roomful.bench import said
from roomful.bench.broker import Appender, acking
from roomful.bench.closed_loop import ClosedLoop
from roomful.bench.flood import Flow, InTurn, Shape, gathered
from roomful.bench.measure import Reading
from roomful.bench.processes import Server, Window
from roomful.bench.running import run
from roomful.bench.subject import PAYLOAD, STEADY, Bench

ON_THE_WAY: Final = 100
ROOMS: Final = 200
SHAPES: Final = {
    "one hot room": Shape(1, 1, 1, ON_THE_WAY),
    f"{ROOMS} rooms": Shape(ROOMS, ROOMS, 1, ON_THE_WAY, InTurn),
    f"{ROOMS} rooms, 16 on the way in each": Shape(ROOMS, ROOMS, 1, 16),
}


def once(bench: Bench) -> Iterator[Reading]:
    for figure, shape in SHAPES.items():
        yield _read(bench, figure, shape)


def _read(bench: Bench, figure: str, shape: Shape) -> Reading:
    frames = said.acked()
    with (
        bench.node(None, *STEADY) as node,
        gathered(node.port, shape, frames, shape.paths(), mark=said.ACK) as flood,
    ):
        sample = flood.sample()
        ours = flood.run(bench.seconds, node.pids)
    with (
        bench.bare(sample, len(frames(1))) as server,
        gathered(server.port, shape, frames, shape.paths(), mark=said.ACK) as flood,
    ):
        bare = flood.run(bench.seconds, server.pids)
    in_all = shape.on_the_way * (1 if shape.kind is InTurn else shape.rooms)
    with bench.broker() as broker:
        appends, window = run(_appends(broker, shape.rooms, in_all, bench.seconds))
    return acked(
        figure,
        ours,
        {"bare": bare.messages, "JetStream appends": appends},
        max(ours.window.foreign, bare.window.foreign, window.foreign),
        stalled=bare.stalled,
    )


def acked(
    figure: str,
    ours: Flow,
    ceilings: dict[str, float],
    foreign: float,
    *,
    stalled: bool = False,
) -> Reading:
    """Messages per second, and what each cost."""
    details = {**ours.cpu_us("message"), "load_busy": ours.load_busy}
    return Reading(
        figure, "messages/s", ours.messages, ceilings, foreign, details,
        ours.stalled or stalled, ours.busy,
    )  # fmt: skip


async def _appends(
    broker: Server, subjects: int, on_the_way: int, seconds: float
) -> tuple[float, Window]:
    loop = ClosedLoop(on_the_way)
    appender = await Appender.open(broker.port, acking(loop))
    turn = 0

    def ask() -> None:
        nonlocal turn
        turn = (turn + 1) % subjects
        appender.append(f"room-{turn}", PAYLOAD)

    loop.ask = ask
    rate = await loop.rate(seconds, broker.pids)
    await appender.close()
    return rate
