"""An event loop for a scenario, that ends whatever the scenario has left open.

uvloop waits for ever to be closed while a connection is open, as it is after a failure.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final, TypeVar

import uvloop

ABORTED_S: Final = 5.0
T = TypeVar("T")

_open: Final[set[asyncio.Transport]] = set()


def opened(transport: asyncio.Transport) -> None:
    """`transport` is to be ended with the loop, unless it was `lost` before."""
    _open.add(transport)


def lost(transport: asyncio.Transport) -> None:
    _open.discard(transport)


def run(main: Coroutine[Any, Any, T]) -> T:
    """The result of `main`, run in a loop of its own."""
    return uvloop.run(_to_the_end(main))


async def ended(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel `tasks` and wait for them. Raises what one of them has met before."""
    for task in tasks:
        task.cancel()
    for end in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(end, Exception):
            raise end


async def _to_the_end(main: Coroutine[Any, Any, T]) -> T:
    try:
        return await main
    finally:
        for transport in list(_open):
            transport.abort()
        async with asyncio.timeout(ABORTED_S):
            while _open:  # noqa: ASYNC110 - it takes a turn of the loop or two
                await asyncio.sleep(0)
