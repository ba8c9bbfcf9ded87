"""Tasks with an owner and a name: nothing runs that nobody can end, and nothing fails unheard."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

log = structlog.get_logger()


def end(task: "asyncio.Task[Any] | None") -> None:
    """Cancel `task`, if there is one, and it is not the running one.

    Whoever does so should not keep it: a task that was cancelled leads to where it was, and from
    there to its owner, a cycle.
    """
    if task is not None and task is not asyncio.current_task():
        task.cancel()


class Tasks:
    """The tasks of one owner. What one raises is logged as `task.failed`; the rest go on."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    def start(self, coroutine: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
        """Run `coroutine` under `name`. After `close` it is not run: the task comes cancelled."""
        task = asyncio.get_running_loop().create_task(coroutine, name=f"{self._owner}: {name}")
        self._running.add(task)
        task.add_done_callback(self._ended)
        if self._closed:
            task.cancel()
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled() and (raised := task.exception()) is not None:
            log.error("task.failed", task=task.get_name(), exc_info=raised)

    async def close(self) -> None:
        """Cancel all tasks but the calling one, and wait until they have ended."""
        self._closed = True
        others = [task for task in self._running if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)
