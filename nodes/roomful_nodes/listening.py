"""Subjects of the broker that a node listens to while some client here needs it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from roomful_nodes.bus import Bus, Message
from roomful_rooms.log import Following
from roomful_rooms.tasks import Tasks

LINGER_S: Final = 5.0
"""A subject that nobody needs any more is kept for so long: clients come back."""


@dataclass(slots=True)
class _Subject:
    name: str
    holders: int = 0
    following: Following | None = None
    linger: asyncio.TimerHandle | None = None


class Listening:
    """Counted subscriptions. `hold` a subject, and `release` it as often."""

    def __init__(
        self,
        bus: Bus,
        heard: Callable[[Message], None],
        *,
        loop: asyncio.AbstractEventLoop,
        tasks: Tasks,
    ) -> None:
        self._bus, self._heard = bus, heard
        self._loop, self._tasks = loop, tasks
        self._subjects: dict[str, _Subject] = {}

    def hold(self, name: str) -> None:
        """Listen to the subject `name`, from a moment from now on."""
        subject = self._subjects.get(name)
        if subject is None:
            subject = self._subjects[name] = _Subject(name)
            self._tasks.start(self._follow(subject), f"listen {name}")
        if subject.linger is not None:
            subject.linger.cancel()
            subject.linger = None
        subject.holders += 1

    def release(self, name: str) -> None:
        subject = self._subjects.get(name)
        if subject is None:
            return  # All are closed already.
        subject.holders -= 1
        if not subject.holders:
            subject.linger = self._loop.call_later(LINGER_S, self._expire, subject)

    async def close(self) -> None:
        """Stop listening to all."""
        closing, self._subjects = list(self._subjects.values()), {}
        for subject in closing:
            if subject.linger is not None:
                subject.linger.cancel()
            await self._close(subject)

    async def _follow(self, subject: _Subject) -> None:
        subject.following = await self._bus.subscribe(subject.name, self._heard)
        if self._subjects.get(subject.name) is not subject:
            await self._close(subject)

    def _expire(self, subject: _Subject) -> None:
        del self._subjects[subject.name]
        self._tasks.start(self._close(subject), f"unlisten {subject.name}")

    async def _close(self, subject: _Subject) -> None:
        following, subject.following = subject.following, None
        if following is not None:
            await following.close()
