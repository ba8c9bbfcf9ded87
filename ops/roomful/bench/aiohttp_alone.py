"""What it costs to open a WebSocket with aiohttp, the way its documentation shows, and no more.

`python -m roomful.bench.aiohttp_alone PORT`: whoever asks gets one, at any path, and is listened
to. There are no sessions, rooms or log; loop, collector and backlog are as a node has them.
"""

import asyncio
import sys

from aiohttp import web

from roomful.collector import Collector
from roomful.loop import run
from roomful_nodes.site import BACKLOG


async def greet(request: web.Request) -> web.WebSocketResponse:
    """Open a WebSocket and listen to it until it is closed."""
    opened = web.WebSocketResponse(compress=False)
    await opened.prepare(request)
    async for _ in opened:
        pass
    return opened


def application() -> web.Application:
    made = web.Application()
    made.router.add_get("/{path:.*}", greet)
    return made


async def main(port: int) -> None:
    runner = web.AppRunner(application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=BACKLOG).start()
    Collector(lambda _: None).settle()
    await asyncio.Event().wait()


if __name__ == "__main__":
    run(main(int(sys.argv[1])))
