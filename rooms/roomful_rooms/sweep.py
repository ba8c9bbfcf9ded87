"""The members of lost nodes leave their rooms: presence is true within a bound."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Final

import structlog

from roomful_protocol.blocks import Member
from roomful_protocol.ids import RoomName
from roomful_protocol.messages import Accepted, Answer, Command, Exit, Sender
from roomful_rooms.actor import RoomActor
from roomful_rooms.presence import Life, life
from roomful_rooms.tasks import Tasks

REMEMBERED: Final = 4
"""So many graces long it is known since when a node is missing of which no room here has members:
rooms that come from elsewhere may have some, who have waited already."""
HEARD: Final = 0.25
"""The part of its grace that a missing node has left at least when a room with its members comes
from elsewhere."""
AT_ONCE: Final = 256
"""Members of one room that are asked to leave at a time: others want to be handled, too."""

log = structlog.get_logger()


class Sweep:
    """Notices which nodes are missing, and has their members leave once the grace is over.

    A node that was started again under its name is another one, and does not know the members of
    the one before. A node that asks something is not dead, whatever the directory says: it may have
    lost its lease and nothing else. Its grace begins anew. One that was never seen here, as it was
    lost before this node was started, is missing since when others say.

    `grace_s`: within so many seconds their clients may have come back on other nodes.
    """

    def __init__(self, tasks: Tasks, grace_s: float) -> None:
        self._tasks, self._grace_s = tasks, grace_s
        self._living = self._in_rooms = frozenset[Life]()
        self.missed: dict[Life, float] = {}
        """Which nodes are missing, since when."""
        self._sweeping: set[RoomName] = set()

    def heard(self, sender: Sender, now: float) -> None:
        """The node of `sender` has asked something on its behalf, `now`."""
        if (node := life(sender)) in self.missed:
            self.missed[node] = now

    def missing(self, now: float) -> list[tuple[Life, float]]:
        """Which nodes are missing `now`, and for how many seconds."""
        return [(node, now - since) for node, since in self.missed.items()]

    def look(
        self,
        living: frozenset[Life],
        absent: Mapping[RoomActor, Collection[Life]],
        now: float,
        missed_s: Mapping[Life, float],
    ) -> None:
        """Look at who is missing `now`, a monotonic time in seconds, in which room; does not wait.

        `missed_s`: for how long others have missed whom, in seconds.
        """
        in_rooms = frozenset[Life]().union(*absent.values())
        for node in self._living - living:
            self.missed.setdefault(node, now)
        for node in in_rooms:
            self.missed.setdefault(node, now - missed_s.get(node, 0.0))
        for node in in_rooms - self._in_rooms:
            # It may have asked those who had the room before: let it be heard here.
            self.missed[node] = max(self.missed[node], now - self._grace_s * (1 - HEARD))
        self._living, self._in_rooms = living, in_rooms
        self.missed = {
            node: since
            for node, since in self.missed.items()
            if node not in living and (node in in_rooms or now - since < REMEMBERED * self._grace_s)
        }
        lost = {node for node, since in self.missed.items() if now - since >= self._grace_s}
        for actor, nodes in absent.items():
            if not lost.isdisjoint(nodes) and actor.name not in self._sweeping:
                self._sweeping.add(actor.name)
                self._tasks.start(self._empty(actor, lost), f"sweep {actor.name}")

    async def _empty(self, actor: RoomActor, lost: Collection[Life]) -> None:
        """Have them leave; those who cannot now are asked again at the next look."""
        left = 0
        try:
            while gone := [m for m in actor.journal.held.presence if life(m) in lost][:AT_ONCE]:
                answers = await asyncio.gather(*(_leave(actor, member) for member in gone))
                accepted = sum(isinstance(answer, Accepted) for answer in answers)
                if not accepted:
                    break
                left += accepted
        finally:
            self._sweeping.discard(actor.name)
            log.info(
                "room.swept",
                room=actor.name,
                members=left,
                nodes=sorted({node for node, _ in lost}),
            )


async def _leave(actor: RoomActor, member: Member) -> Answer:
    """Have `member` leave over the attachment by which it is here now."""
    answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    sender = Sender(member.session, member.user, member.name, member.node, member.attach)

    def answered(given: Answer) -> None:
        if not answer.done():
            answer.set_result(given)

    actor.receive(Command(actor.name, sender, Exit("node_lost"), 0, 0), answered)
    return await answer
