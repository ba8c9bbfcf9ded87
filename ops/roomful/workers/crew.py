"""All workers of one port together: started, renewed one by one, stopped."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from roomful.config import Config
from roomful.failure import Failure
from roomful.workers.line import Order
from roomful.workers.place import Place

log = structlog.get_logger()


class Crew:
    """Of `config.workers` nodes, named after `config.node_id`, that meet in `siblings`."""

    def __init__(self, config: Config, siblings: Path) -> None:
        self._places = [
            Place(Order(config.model_copy(update={"node_id": id}), siblings), self._hopeless)
            for id in config.worker_ids
        ]
        self._complete = False

    def _hopeless(self) -> bool:
        """At first all must come up. Later one that does not is no reason to end the others."""
        return not (self._complete and any(place.up.is_set() for place in self._places))

    async def keep(self, started: Callable[[], None]) -> None:
        """Have all run until they are told to stop. `started` is called when all take clients.

        Raises Failure if they cannot, or have not ended in good order.
        """
        try:
            async with asyncio.TaskGroup() as group:
                if await self._begin(group):
                    self._complete = True
                    started()
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        for place in self._places:
            if place.disorder is not None:
                raise Failure(f"The worker {place.id} did not end in good order: {place.disorder}")

    async def _begin(self, group: asyncio.TaskGroup) -> bool:
        """Whether all take clients; False if they are told to stop before."""
        # What keeps one from starting keeps all of them, and should be said once.
        for places in (self._places[:1], self._places[1:]):
            for place in places:
                group.create_task(place.keep(), name=f"worker {place.id}")
            for place in places:
                if not await place.begun:
                    return False
        return True

    def stop(self) -> None:
        """Let all drain and end; called again, let them hurry."""
        for place in self._places:
            place.stop()

    def kill(self) -> None:
        """End all that are left at once."""
        for place in self._places:
            place.kill()

    async def renew(self) -> None:
        """One after the other, let each drain and another take its place."""
        log.info("workers.renewing", workers=len(self._places))
        for place in self._places:
            if not await place.renew():
                # The next ones would fare no better.
                log.error("workers.not_renewed", worker=place.id)
                return
        log.info("workers.renewed")
