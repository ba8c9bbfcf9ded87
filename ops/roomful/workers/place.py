"""Where one worker runs, and after its end the next one, under the same name."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from logging import ERROR, INFO
from typing import Final

import structlog

from roomful.failure import Failure
from roomful.pauses import Pauses
from roomful.workers.line import Order
from roomful.workers.worker import Ended, Worker
from roomful_nodes.siblings import Siblings

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 15.0
STEADY_S: Final = 60.0
"""A worker that has run for so long is followed by another at once."""

log = structlog.get_logger()


class Place:
    """`begun` is told True when the first worker here takes clients, False if there is to be none;
    `up` is set while one does. `disorder` is how one ended that was told to, but not in good order.
    `hopeless` says whether there is no use in trying again, when one could not start.
    """

    def __init__(self, order: Order, hopeless: Callable[[], bool]) -> None:
        self.id = str(order.config.node_id)
        self.begun: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.up = asyncio.Event()
        self.disorder: Ended | None = None
        self._order, self._hopeless = order, hopeless
        self._worker: Worker | None = None
        self._stopping = asyncio.Event()
        # Told whether the one takes clients that follows a worker which was ended for that.
        self._successor: asyncio.Future[bool] | None = None

    async def keep(self) -> None:
        """Have a worker run here, and another after it, until told to stop. No process is left.

        Raises Failure if none can start.
        """
        loop, pauses = asyncio.get_running_loop(), Pauses(FIRST_PAUSE_S, LONGEST_PAUSE_S, STEADY_S)
        try:
            while not self._stopping.is_set():
                since = loop.time()
                ended = await self._live()
                if self._stopping.is_set():
                    self._judge(ended)
                elif not ended.ready and self._hopeless():
                    raise Failure(
                        ended.reason
                        or f"A worker did not start ({ended}): what it has printed may say why."
                    )
                else:
                    pause_s = 0.0 if self._successor else pauses.after(loop.time() - since)
                    self._log(ended, pause_s)
                    await self._pause(pause_s)
            _tell(self.begun, truth=False)
        finally:
            if self._worker is not None:
                await self._worker.end()

    async def _live(self) -> Ended:
        """One worker's life."""
        successor, self._successor = self._successor, None
        try:
            self._worker = worker = await Worker.start(self._order)
            if self._stopping.is_set():
                worker.tell()
            if await worker.ready():
                log.info("worker.started", worker=self.id, pid=worker.pid)
                self.up.set()
                _tell(self.begun, truth=True)
        except Failure as failure:
            return Ended(1, str(failure), ready=False)
        finally:
            _tell(successor, truth=self.up.is_set())
        ended = await worker.ended()
        self.up.clear()
        # For one that could not do that itself.
        Siblings(self._order.siblings, self.id).leave()
        return ended

    def _judge(self, ended: Ended) -> None:
        """Whether that was good order. One that did not yet take clients may just be killed."""
        if ended.ready and ended.code != 0:
            self.disorder = ended

    async def _pause(self, pause_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._stopping.wait()

    def _log(self, ended: Ended, pause_s: float) -> None:
        log.log(
            INFO if ended.code == 0 else ERROR, "worker.exited", worker=self.id, code=ended.code,
            ready=ended.ready, reason=ended.reason, pause_s=pause_s,
        )  # fmt: skip

    def stop(self) -> None:
        """Let the worker drain and none follow; called again, let it hurry."""
        renewed = self._successor is not None and not self._stopping.is_set()
        self._stopping.set()
        # One that is being renewed has been told already: told again, it would hurry.
        if self._worker is not None and not renewed:
            self._worker.tell()

    def kill(self) -> None:
        """End the worker at once."""
        if self._worker is not None:
            self._worker.kill()

    async def renew(self) -> bool:
        """Let the worker drain and another one follow; whether that takes clients now."""
        if self._worker is None or self._stopping.is_set() or not self.up.is_set():
            return True  # It has just begun, or is to end.
        successor: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._successor = successor
        self._worker.tell()
        return await successor


def _tell(waiting: "asyncio.Future[bool] | None", *, truth: bool) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(truth)
