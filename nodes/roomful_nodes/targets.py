"""Messages to users and sessions outside any room, and how many connections they have reached.

Every node that holds a connection of a user listens to the user's subject and replies with how many
it has reached. Nobody knows how many nodes will reply, so the count is over when all could have,
when the broker says that nobody listens, or when it has been quiet for a moment.
"""

import asyncio
from collections.abc import Callable, Iterable
from re import compile as pattern
from typing import Final

import structlog

from roomful_nodes.bus import Bus, Message
from roomful_nodes.session import Session
from roomful_nodes.sessions import Sessions
from roomful_protocol.codecs.events import event_frame
from roomful_protocol.codecs.internode import pack_to_session
from roomful_protocol.errors import Code, Refused
from roomful_protocol.frames import Send, Target
from roomful_protocol.ids import NodeId, home_of
from roomful_protocol.messages import Direct
from roomful_protocol.subjects import Subjects
from roomful_rooms.clock import NewId
from roomful_rooms.log import Following

QUIET_S: Final = 0.025
LONGEST_S: Final = 0.5

# Anything else would not be a subject's token.
_is_session: Final = pattern(r"[A-Za-z0-9_]+-[A-Za-z0-9_-]+").fullmatch

Delivered = Callable[[int], None]

log = structlog.get_logger()


class _Count:
    """The replies to one message: over when no subject is open any more, or it is quiet."""

    def __init__(self, reached: int, delivered: Delivered, loop: asyncio.AbstractEventLoop) -> None:
        self.reached = reached
        self.open: dict[str, int] = {}
        self.single: set[str] = set()
        self.over = False
        self._delivered, self._loop = delivered, loop
        self._last = loop.call_later(LONGEST_S, self.finish)
        self._quiet: asyncio.TimerHandle | None = None

    def reply(self, inbox: str, count: int) -> None:
        self.reached += count
        self.open[inbox] -= 1
        # A session is in one place: whoever has reached it was the last to ask.
        if self.open[inbox] <= 0 or (count and inbox in self.single):
            self.settle(inbox)
        elif not self.over:
            if self._quiet is not None:
                self._quiet.cancel()
            self._quiet = self._loop.call_later(QUIET_S, self.finish)

    def settle(self, inbox: str) -> None:
        """No more replies will come to `inbox`."""
        self.open.pop(inbox, None)
        if not self.open:
            self.finish()

    def finish(self) -> None:
        if self.over:
            return
        self.over = True
        self._last.cancel()
        if self._quiet is not None:
            self._quiet.cancel()
        self._delivered(self.reached)


class Targets:
    """`others` tells how many other nodes live."""

    def __init__(
        self,
        node: NodeId,
        sessions: Sessions,
        *,
        bus: Bus,
        subjects: Subjects,
        new_id: NewId,
        loop: asyncio.AbstractEventLoop,
        others: Callable[[], int],
    ) -> None:
        self._node, self._sessions = node, sessions
        self._bus, self._subjects, self._new_id = bus, subjects, new_id
        self._loop, self._others = loop, others
        self._counts: dict[str, _Count] = {}
        self._replies: Following | None = None

    async def start(self) -> None:
        """Listen for replies."""
        subject = self._subjects.inbox(self._node, "*")
        self._replies = await self._bus.subscribe(subject, self._heard)

    async def close(self) -> None:
        if self._replies is not None:
            await self._replies.close()

    def send(self, sender: Session, send: Send, delivered: Delivered) -> None:
        """Show the message to all connections of its targets but the sender's own.

        `delivered` is called once with how many that were, cluster-wide. Raises Refused:
        UNAVAILABLE if other nodes cannot be reached, BAD_DATA if the data cannot be shown to all.
        """
        others = self._others()
        if others and not self._bus.connected:
            raise Refused(Code.UNAVAILABLE, "The other nodes cannot be reached; try again.")
        who = (sender.user, sender.name, sender.id)
        try:
            frame = event_frame(send.type, None, sender=who, data=send.data)
        except ValueError as problem:
            raise Refused(Code.BAD_DATA, str(problem)) from None
        reached = self._show_here(sender, send.to, frame)
        if others:
            self._ask(send.to, frame, others, _Count(reached, delivered, self._loop))
        else:
            delivered(reached)

    def _show_here(self, sender: Session, targets: Iterable[Target], frame: bytes) -> int:
        here: dict[str, Session] = {}
        for target in targets:
            if target.kind == "user":
                here.update((one.id, one) for one in self._sessions.connected(target.value))
            elif (session := self._sessions.get(target.value)) is not None:
                here[session.id] = session
        here.pop(sender.id, None)
        lines = [session.line for session in here.values() if session.line is not None]
        for line in lines:
            line.show(frame)
        return len(lines)

    def _ask(self, targets: Iterable[Target], frame: bytes, others: int, count: _Count) -> None:
        payload = pack_to_session(Direct(frame))
        asked = []
        for target in targets:
            if (subject := self._subject(target)) is not None:
                inbox = self._subjects.inbox(self._node, self._new_id())
                count.open[inbox] = others
                if target.kind == "session":
                    count.single.add(inbox)
                asked.append((subject, inbox))
        if not asked:
            count.finish()
        for subject, inbox in asked:
            self._counts[inbox] = count
            # Later than the count can last: replies that come too late are not worth a warning.
            self._loop.call_later(2 * LONGEST_S, self._counts.pop, inbox, None)
            self._bus.publish(subject, payload, inbox)

    def _subject(self, target: Target) -> str | None:
        """Where other nodes hear of it; None if they cannot know it."""
        if target.kind == "user":
            return self._subjects.user(target.value)
        if self._sessions.get(target.value) is not None or not _is_session(target.value):
            return None
        return self._subjects.session(home_of(target.value), target.value)

    def _heard(self, message: Message) -> None:
        count = self._counts.get(message.subject)
        if count is None or count.over or message.subject not in count.open:
            return
        if message.undelivered:
            count.settle(message.subject)
        else:
            count.reply(message.subject, int(message.payload))
