"""Messages to users and sessions outside any room, and how many connections they have reached.

Every node that holds a connection of a user listens to the user's subject, and tells at the end of
its turn of the loop how many each message has reached. Nobody knows how many nodes will tell. So
the sender's node calls the roll after its messages, one call for all that it has sent meanwhile:
the count is over when all nodes have answered that, when the broker says that nobody listens, or,
with a node that does not answer, when it has been quiet for a moment.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from re import compile as pattern
from typing import Final

from msgspec import Struct

from roomful_nodes.bus import Bus, Message
from roomful_nodes.session import Session
from roomful_nodes.sessions import Sessions
from roomful_protocol.codecs.events import Person, event_frame
from roomful_protocol.codecs.internode import pack_roll, pack_to_session, unpack_reached
from roomful_protocol.errors import Code, Refused
from roomful_protocol.frames import Say, Target
from roomful_protocol.ids import NodeId, home_of
from roomful_protocol.messages import Direct, one_of_several
from roomful_protocol.subjects import Subjects
from roomful_rooms.clock import NewId
from roomful_rooms.draft import TURN_BYTES
from roomful_rooms.log import Following

QUIET_S: Final = 0.025
LONGEST_S: Final = 0.5
SWEEP_S: Final = 0.005
"""How exactly these two are kept."""

# Anything else would not be a subject's token.
_is_session: Final = pattern(r"[A-Za-z0-9_]+-[A-Za-z0-9_-]+").fullmatch

Delivered = Callable[[int], None]


class _Count(Struct):
    """How many connections one message has reached; `open` of its targets are not settled yet."""

    reached: int
    open: int
    delivered: Delivered


class _Asked(Struct):
    """One target of a message: `left` nodes may tell of it yet, and at `due` it is given up, by
    `last` at the latest. A `single` connection is told of once."""

    count: _Count
    left: int
    single: bool
    due: float
    last: float


class _Roll(Struct):
    """A roll call: when `left` more nodes have answered, no more will come for its requests. It is
    given up at `due`."""

    name: str
    requests: list[str]
    left: int
    due: float


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
        self._bus, self._subjects = bus, subjects
        self._loop, self._others = loop, others
        # Requests of an earlier node of this name must not be taken for ours.
        self._life, self._number = new_id()[:8], 0
        self._asked: dict[str, _Asked] = {}
        # Requests that wait for the next roll call, and the one that is being answered.
        self._uncalled: list[str] = []
        self._roll: _Roll | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._following: list[Following] = []

    async def start(self) -> None:
        """Listen for what other nodes tell."""
        for subject, heard in (
            (self._subjects.reached(self._node), self._hear_reached),
            (self._subjects.inbox(self._node, "*"), self._hear_bounced),
        ):
            self._following.append(await self._bus.subscribe(subject, heard))

    async def close(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        for following in self._following:
            await following.close()

    def send(self, sender: Session, say: Say, delivered: Delivered) -> None:
        """Show the message to all connections of its targets but the sender's own.

        `delivered` is called once with how many that were, cluster-wide. Raises Refused:
        UNAVAILABLE if other nodes cannot be reached, BAD_DATA if the data cannot be shown to all.
        """
        others = self._others()
        if others and not self._bus.connected:
            raise Refused(Code.UNAVAILABLE, "The other nodes cannot be reached; try again.")
        who = Person(sender.user, sender.name, sender.id)
        try:
            frame = event_frame(say.type, None, sender=who, data=say.data)
        except ValueError as problem:
            raise Refused(Code.BAD_DATA, str(problem)) from None
        if len(frame) > TURN_BYTES:
            # As in a room. A number may take several times as many bytes as its client wrote.
            raise Refused(Code.TOO_BIG, f"That would be {len(frame)} bytes, of {TURN_BYTES}.")
        reached = self._show_here(sender, say.to, frame)
        elsewhere = self._elsewhere(say.to) if others else []
        if elsewhere:
            self._ask(elsewhere, frame, others, _Count(reached, len(elsewhere), delivered))
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

    def _elsewhere(self, targets: Iterable[Target]) -> list[tuple[str, bool]]:
        """The subjects on which other nodes hear of the targets, and which are single sessions."""
        once = dict.fromkeys(targets)
        asked = [(self._subject(target), target.kind == "session") for target in once]
        return [(subject, single) for subject, single in asked if subject is not None]

    def _ask(
        self, subjects: Sequence[tuple[str, bool]], frame: bytes, others: int, count: _Count
    ) -> None:
        last, message = self._loop.time() + LONGEST_S, self._named()
        for number, (subject, single) in enumerate(subjects):
            request = message if len(subjects) == 1 else one_of_several(message, number)
            self._asked[request] = _Asked(count, others, single, last, last)
            payload = pack_to_session(Direct(frame, self._node, request))
            self._bus.publish(subject, payload, self._subjects.inbox(self._node, request))
            if others > 1:
                self._uncalled.append(request)
        if self._uncalled and self._roll is None:
            self._loop.call_soon(self._call_roll)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(SWEEP_S, self._sweep)

    def _named(self) -> str:
        self._number += 1
        return f"{self._life}{self._number}"

    def _call_roll(self) -> None:
        """One at a time: so it costs the same however many messages there are."""
        requests = [request for request in self._uncalled if request in self._asked]
        if not requests or self._roll is not None:
            return
        self._uncalled = []
        due = self._loop.time() + QUIET_S
        self._roll = _Roll(self._named(), requests, self._others(), due)
        self._bus.publish(self._subjects.roll(), pack_roll(self._node, self._roll.name))

    def _subject(self, target: Target) -> str | None:
        """Where other nodes hear of it; None if they cannot know it."""
        if target.kind == "user":
            return self._subjects.user(target.value)
        if self._sessions.get(target.value) is not None or not _is_session(target.value):
            return None
        return self._subjects.session(home_of(target.value), target.value)

    def _hear_reached(self, message: Message) -> None:
        due = self._loop.time() + QUIET_S
        for request, reached in unpack_reached(message.payload):
            if reached is None:
                self._answered(request)
                continue
            asked = self._asked.get(request)
            if asked is None:
                continue  # It comes too late.
            asked.count.reached += reached
            asked.left -= 1
            asked.due = min(due, asked.last)
            # A session is in one place: whoever has reached it was the last to ask.
            if asked.left <= 0 or (reached and asked.single):
                self._settle(request)

    def _answered(self, name: str) -> None:
        roll = self._roll
        if roll is None or roll.name != name:
            return
        roll.left -= 1
        if roll.left <= 0:
            self._roll = None
            for request in roll.requests:
                self._settle(request)
            self._call_roll()

    def _hear_bounced(self, message: Message) -> None:
        if message.undelivered:
            self._settle(message.subject.rpartition(".")[2])

    def _settle(self, request: str) -> None:
        """No more will be told of it."""
        asked = self._asked.pop(request, None)
        if asked is None:
            return
        count = asked.count
        count.open -= 1
        if not count.open:
            count.delivered(count.reached)

    def _sweep(self) -> None:
        """Give up what is due. One timer for all: they are many, and most never come to this."""
        now = self._loop.time()
        self._sweeping = self._loop.call_later(SWEEP_S, self._sweep) if self._asked else None
        for request in [one for one, asked in self._asked.items() if asked.due <= now]:
            self._settle(request)
        if self._roll is not None and self._roll.due <= now:
            self._roll = None
            self._call_roll()
