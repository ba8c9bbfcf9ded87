"""What a node takes in: messages decoded and given to a handler that does nothing with them."""

from collections.abc import Iterator
from typing import Final

from roomful.bench import said
from roomful.bench.crowd import Crowd
from roomful.bench.flood import JOINED, Flow, Shape
from roomful.bench.hose import Hose
from roomful.bench.measure import Reading
from roomful.bench.processes import Server
from roomful.bench.subject import STEADY, Bench

CLIENTS: Final = Shape(4, 4)
"""Each in a room of its own. Many more would have more on the way than a node lets wait."""
TARGET_PER_S: Final = 400_000.0
_APP: Final = """
from roomful import Message, Room, on


class Nothing(Room):
    @on("*")
    def nothing(self, message: Message) -> None:
        pass
"""


def once(bench: Bench) -> Iterator[Reading]:
    folder = bench.fresh()
    (folder / "nothing.py").write_text(_APP)
    with bench.node(folder, *STEADY, "--app", "nothing:Nothing") as node:
        ours = _poured(bench, node)
    details = {**ours.cpu_us("message"), "load_busy": ours.load_busy}
    yield Reading(
        "messages to a handler that does nothing",
        "messages/s",
        ours.messages,
        {"target": TARGET_PER_S},
        ours.window.foreign,
        details,
        busy=ours.busy,
    )


def _poured(bench: Bench, server: Server) -> Flow:
    with Crowd.gathering() as crowd:
        lines = crowd.enter(server.port, CLIENTS.paths(), JOINED)
        crowd.settle()
        return Hose(crowd, lines, said.ephemeral()).run(bench.seconds, server.pids)
