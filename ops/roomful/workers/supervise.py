"""The supervisor: it holds the port, brings a broker if none is named, and keeps the crew."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import structlog

from roomful.config import Config
from roomful.embedded import EmbeddedServer
from roomful.embedded_folder import SYNC_S
from roomful.ending import End
from roomful.failure import Failure
from roomful.serve import cannot_listen
from roomful.workers.crew import Crew
from roomful.workers.port import held

HURRIED_S: Final = 60.0
"""Workers that have been told to hurry, and have not ended after so long, are killed."""

log = structlog.get_logger()


async def supervise(config: Config, started: Callable[[], None]) -> None:
    """Run `config.workers` nodes on one port until SIGTERM or SIGINT: then all drain. A second
    signal hurries; SIGHUP renews them one by one.

    `started` is called when all take clients. Raises Failure for what an operator can mend.
    """
    end, hung_up = End(), _hang_ups()
    async with AsyncExitStack() as running:
        try:
            running.enter_context(held(config.host, config.port))
        except OSError as error:
            raise cannot_listen(config.node.address, error) from None
        config = await running.enter_async_context(_with_broker(config))
        try:
            siblings = Path(running.enter_context(TemporaryDirectory(prefix="roomful-")))
        except OSError as error:
            raise Failure(
                f"Workers need a place for sockets ({error.strerror}): name one with TMPDIR."
            ) from None
        await _run(Crew(config, siblings), end, hung_up, started)


async def _run(crew: Crew, end: End, hung_up: asyncio.Event, started: Callable[[], None]) -> None:
    """Until all workers have ended, and do with them what this process is told."""
    keeping = asyncio.create_task(crew.keep(started), name="crew")
    others = [
        asyncio.create_task(_pass_on(end, crew), name="end"),
        asyncio.create_task(_renew(hung_up, crew), name="renew"),
    ]
    try:
        await keeping
    finally:
        for task in (keeping, *others):
            task.cancel()
        await asyncio.wait([keeping, *others])


async def _pass_on(end: End, crew: Crew) -> None:
    await end.wanted.wait()
    crew.stop()
    await end.hurried.wait()
    log.warning("workers.hurried")
    crew.stop()
    await asyncio.sleep(HURRIED_S)
    crew.kill()


def _hang_ups() -> asyncio.Event:
    """Set each time when this process is hung up, which from now on does not end it."""
    hung_up = asyncio.Event()
    # On a terminal it says that this was closed, and does end it.
    if not sys.stdout.isatty():
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up.set)
    return hung_up


async def _renew(hung_up: asyncio.Event, crew: Crew) -> None:
    """Each time when this process is hung up; before there was a crew, there was nothing to do."""
    hung_up.clear()
    while await hung_up.wait():
        hung_up.clear()
        await crew.renew()


@asynccontextmanager
async def _with_broker(config: Config) -> AsyncIterator[Config]:
    """The settings, with the broker that all workers are to use."""
    if config.nats:
        yield config
        return
    async with EmbeddedServer(config.data_dir) as embedded:
        yield config.on(embedded.url, embedded.token, SYNC_S)
