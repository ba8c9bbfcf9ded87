"""Subjects of the broker that a node listens to while some client here needs it."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from roomful_nodes.bus import Bus, Message
from roomful_nodes.delays import Delays
from roomful_rooms.log import Following
from roomful_rooms.tasks import Tasks

LINGER_S: Final = 5.0
"""A subject that nobody needs any more is kept for so long: clients come back."""


class _Subject(Struct, eq=False, gc=False):
    name: str
    holders: int = 0
    following: Following | None = None


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
        self._tasks = tasks
        self._lingering = Delays[_Subject](LINGER_S, self._expire, loop)
        self._subjects: dict[str, _Subject] = {}
        # All that are new while others are being subscribed to are subscribed to by the same task,
        # and all that end in a turn of the loop are given up by one: clients come and go by the
        # hundred.
        self._new: list[_Subject] = []
        self._following = False
        self._over: list[_Subject] = []

    def hold(self, name: str) -> None:
        """Listen to the subject `name`, from a moment from now on."""
        subject = self._subjects.get(name)
        if subject is None:
            subject = self._subjects[name] = _Subject(name)
            self._new.append(subject)
            if not self._following:
                self._following = True
                self._tasks.start(self._follow_new(), "listen")
        if not subject.holders:
            self._lingering.call_off(subject)
        subject.holders += 1

    def release(self, name: str) -> None:
        subject = self._subjects.get(name)
        if subject is None:
            return  # All are closed already.
        subject.holders -= 1
        if not subject.holders:
            self._lingering.begin(subject)

    async def close(self) -> None:
        """Stop listening to all."""
        closing, self._subjects = list(self._subjects.values()), {}
        self._lingering.close()
        await self._close(closing)

    async def _follow_new(self) -> None:
        try:
            while self._new:
                new, self._new = self._new, []
                names = [subject.name for subject in new]
                followings = await self._bus.subscribe_all(names, self._heard)
                for subject, following in zip(new, followings, strict=True):
                    subject.following = following
                await self._close([one for one in new if self._subjects.get(one.name) is not one])
        finally:
            self._following = False

    def _expire(self, subject: _Subject) -> None:
        del self._subjects[subject.name]
        self._over.append(subject)
        if len(self._over) == 1:
            self._tasks.start(self._close_over(), "unlisten")

    async def _close_over(self) -> None:
        over, self._over = self._over, []
        await self._close(over)

    async def _close(self, subjects: Iterable[_Subject]) -> None:
        for subject in subjects:
            following, subject.following = subject.following, None
            if following is not None:
                await following.close()
