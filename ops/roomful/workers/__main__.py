"""A worker: one of the nodes on a port. Started by its supervisor, as `roomful.workers FD`."""

import asyncio
import sys
from contextlib import suppress
from typing import Final

from roomful.apps import load_app
from roomful.failure import Failure
from roomful.logs import configure
from roomful.loop import run
from roomful.serve import serve
from roomful.workers.line import ALIVE, ALIVE_S, READY, Line, Order
from roomful_nodes.node import Node
from roomful_rooms.kinds import Kinds

LOOK_S: Final = 0.05
"""How often it is looked whether the node is ready."""


def main() -> None:
    """Be what the supervisor orders, to the end, and tell it why if that comes too early."""
    line = Line(int(sys.argv[1]))
    order = line.order()
    if order is None:
        sys.exit(1)
    config = order.config
    configure(config.log_format, config.log_level, node=str(config.node_id))
    line.watch()
    try:
        kinds = Kinds(load_app(config.app) if config.app else ())
        run(serve(config, kinds, lambda node: _report(node, line), order.siblings))
    except Failure as failure:
        line.fail(str(failure))
        sys.exit(1)
    finally:
        _tidy(line, order)


def _report(node: Node, line: Line) -> None:
    node.tasks.start(_live(node, line), "line")


async def _live(node: Node, line: Line) -> None:
    """Say when the node is ready to take clients, and from then on that it lives."""
    ready = False
    while True:
        if ready:
            line.say(ALIVE)
        elif not node.operator.readiness():
            ready = True
            line.say(READY)
        await asyncio.sleep(ALIVE_S if ready else LOOK_S)


def _tidy(line: Line, order: Order) -> None:
    """What the supervisor cannot do any more: the last one to go closes the door."""
    if line.cut:
        with suppress(OSError):
            order.siblings.rmdir()


if __name__ == "__main__":
    main()
