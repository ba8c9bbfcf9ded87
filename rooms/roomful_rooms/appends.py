"""One room's appends to its log, one at a time, each until it is known what became of it."""

import asyncio
from collections.abc import Callable
from functools import partial

from roomful_protocol.blocks import Block
from roomful_protocol.ids import RoomName
from roomful_rooms.epochs import Epochs
from roomful_rooms.log import Log, Shortened
from roomful_rooms.tasks import Tasks, end

Failed = Callable[[BaseException], None]
Wrote = Callable[[RoomName, Block, float], None]
"""Told of each block that the log has acknowledged: of which room, and the seconds that it took. It
must not raise."""
Left = Callable[[RoomName], None]
"""Told when nothing more will be written to a room here: others may write, from then on. It must
not raise."""


class Appends:
    """What one activation writes to the log of `room`, whose newest record is at `position`."""

    def __init__(self, room: RoomName, *, log: Log, epochs: Epochs, tasks: Tasks) -> None:
        self.position = 0
        self._room, self._log, self._epochs, self._tasks = room, log, epochs, tasks
        self._insisting: asyncio.Task[None] | None = None
        self._abandoned = False

    async def append(self, data: bytes, after: int) -> None:
        """Write `data` as the record after `after`. Raises as `Log.append`."""
        try:
            self.position = await self._log.append(self._room, data, after)
        except Shortened:
            self._epochs.shortened(self._room)
            raise

    def begin(self, data: bytes, stored: Callable[[], None], failed: Failed) -> None:
        """Write `data` after all that is written. One of the two is called, now or later: `failed`
        with what `append` raises, or CancelledError. They must not raise.

        Nearly always the log says at once that it has it, and no task need wait for that.
        """
        told = partial(self._told, data, stored, failed)
        self._log.attempt(self._room, data, self.position, told)

    def _told(
        self, data: bytes, stored: Callable[[], None], failed: Failed, position: int | None
    ) -> None:
        if self._abandoned:
            return
        if position is not None:
            self.position = position
            stored()
            return
        insisting = self._insist(data, stored, failed)
        self._insisting = self._tasks.start(insisting, f"append {self._room}")
        self._insisting.add_done_callback(partial(_if_cancelled, failed))

    async def _insist(self, data: bytes, stored: Callable[[], None], failed: Failed) -> None:
        try:
            await self.append(data, self.position)
        except Exception as reason:
            failed(reason)
        else:
            stored()

    def abandon(self) -> None:
        """Write no further, and call nobody any more. What was in flight may be in the log or not:
        only the next to recover will know."""
        self._abandoned = True
        end(self._insisting)
        self._insisting = None


def _if_cancelled(failed: Failed, task: "asyncio.Task[None]") -> None:
    # Seen from outside, as a task that is cancelled at once sees nothing of it.
    if task.cancelled():
        failed(asyncio.CancelledError())
