"""Notices that something blocks the event loop, while it lasts, and says what.

A handler that computes or waits without `await` stops its whole node: all other rooms, all sockets,
the renewal of the lease. Only a thread can see that from outside. What runs is read off the loop's
own stack, so that it costs the rooms nothing to be watched.
"""

import asyncio
import threading
import traceback
from collections.abc import Callable
from contextvars import copy_context
from sys import _current_frames as frames_of_threads
from types import FrameType
from typing import Final

import structlog

from roomful_protocol.messages import Command, Say
from roomful_rooms.actor import RoomActor

BEAT_S: Final = 0.25
"""Pause between two signs of life of the loop, and between two looks at them: each wakes a node
that may have nothing else to do."""
STALL_S: Final = 1.0
"""A loop that stands still for so long is reported; again after twice as long, and so on."""
CALLS: Final = 12
"""The innermost so many calls are shown."""

log = structlog.get_logger()


class Watchdog:
    """`stalled` is called, from another thread, once for each time that the loop stands still."""

    def __init__(self, stalled: Callable[[], None], stall_s: float = STALL_S) -> None:
        self._stalled, self._stall_s = stalled, stall_s
        self._beats = 0
        self._ended = threading.Event()

    async def run(self) -> None:
        """Watch the running loop until cancelled."""
        looking = copy_context().run  # Its lines bear the node's name as well.
        me = threading.get_ident()
        thread = threading.Thread(
            target=looking, args=(self._look, me), name="watchdog", daemon=True
        )
        thread.start()
        try:
            while True:
                self._beats += 1
                await asyncio.sleep(BEAT_S)
        finally:
            self._ended.set()
            # No longer than that: it may be writing to a log that nobody reads.
            thread.join(STALL_S)

    def _look(self, watched: int) -> None:
        """Count looks at which the loop has not moved: seconds of a clock would count a pause of
        the whole process, too, which is nobody's handler."""
        beats, looks, report_at = 0, 0, self._stall_s
        while not self._ended.wait(BEAT_S):
            if self._beats != beats:
                if report_at > self._stall_s:
                    log.warning("loop.resumed", seconds=round(looks * BEAT_S, 1))
                beats, looks, report_at = self._beats, 0, self._stall_s
                continue
            looks += 1
            if looks * BEAT_S >= report_at:
                if report_at == self._stall_s:
                    self._stalled()
                report_at *= 2
                self._report(watched, looks * BEAT_S)

    def _report(self, watched: int, still_s: float) -> None:
        frame = frames_of_threads().get(watched)
        if frame is None:
            return
        room, ask = running(frame)
        stack = "".join(traceback.format_stack(frame, CALLS)).rstrip()
        log.error("loop.stalled", seconds=round(still_s, 1), room=room, ask=ask, stack=stack)


def running(frame: FrameType | None) -> tuple[str | None, str | None]:
    """The room whose code the call `frame` is part of, and what it is asked; None: not a room's."""
    while frame is not None:
        # Only our own frames are looked into: what an author's hold is none of our business.
        if str(frame.f_globals.get("__name__")).startswith("roomful_rooms."):
            held = frame.f_locals
            if isinstance(command := held.get("command"), Command):
                ask = command.ask
                return command.room, ask.type if isinstance(ask, Say) else type(ask).__name__
            if isinstance(actor := held.get("self"), RoomActor):
                return actor.name, None
        frame = frame.f_back
    return None, None
