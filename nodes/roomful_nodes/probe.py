"""Notices dead processes long before their leases expire.

The broker says at once when nobody listens to a subject. Every node listens to its own ping
subject and pings a few others; a neighbour whose pings bounce several times in a row, while our own
connection is sound, has ended, and its key is taken out of the directory. If that was wrong nothing
is lost but time: the log fences, and the node registers again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import structlog

from roomful_nodes.bus import Bus, Message
from roomful_protocol.ids import NodeId
from roomful_protocol.subjects import Subjects
from roomful_rooms.clock import Clock
from roomful_rooms.log import Following

BOUNCES: Final = 3
"""So many pings in a row have to find nobody."""
SOUND_S: Final = 3.0
"""After a reconnect, which others need as well, nobody is accused for so long, in seconds."""
NEIGHBOURS: Final = 3
"""A node watches so many others: the next ones in the order of names, round and round."""

log = structlog.get_logger()


class Probe:
    """`nodes` names the living ones; `bury` takes one out of the directory; `probe_s` is the pause
    between two pings, in seconds."""

    def __init__(
        self,
        me: NodeId,
        bus: Bus,
        subjects: Subjects,
        *,
        clock: Clock,
        nodes: Callable[[], Collection[NodeId]],
        bury: Callable[[NodeId], Awaitable[None]],
        probe_s: float,
    ) -> None:
        self._me, self._bus, self._subjects = me, bus, subjects
        self._clock, self._nodes, self._bury, self._probe_s = clock, nodes, bury, probe_s
        # How often in a row, and whether the last ping did.
        self._bounces: dict[NodeId, int] = {}
        self._bounced: set[NodeId] = set()
        self._following: list[Following] = []
        self._rounds = 0

    @property
    def certain(self) -> bool:
        """Whether all watched nodes have been pinged often enough, and none is missing now."""
        return self._rounds > BOUNCES and not self._bounces

    async def run(self) -> None:
        """Listen and ping until cancelled."""
        for subject, heard in (
            (self._subjects.ping(self._me), lambda _message: None),
            (self._subjects.probed(self._me, "*"), self._hear),
        ):
            self._following.append(await self._bus.subscribe(subject, heard))
        # At the start nobody's connection was lost but perhaps a dead predecessor's: no patience.
        sound_since, losses = self._clock.monotonic() - SOUND_S, self._bus.losses
        try:
            while True:
                await asyncio.sleep(self._probe_s)
                now = self._clock.monotonic()
                if not self._bus.connected or losses != self._bus.losses:
                    sound_since, losses = now, self._bus.losses
                await self._round(accuse=now - sound_since >= SOUND_S)
        finally:
            for following in self._following:
                await following.close()

    async def _round(self, *, accuse: bool) -> None:
        """Judge the pings of the last round, and send the next."""
        self._rounds += 1
        bounced, self._bounced = self._bounced, set()
        self._bounces = {node: self._bounces.get(node, 0) + 1 for node in bounced}
        for node in neighbours(self._me, self._nodes()):
            if accuse and self._bounces.get(node, 0) >= BOUNCES:
                log.warning("node.vanished", vanished=node)
                await self._bury(node)
            else:
                mine = self._subjects.probed(self._me, node)
                self._bus.publish(self._subjects.ping(node), b"", mine)

    def _hear(self, message: Message) -> None:
        if message.undelivered:
            self._bounced.add(message.subject.rpartition(".")[2])


def neighbours(me: NodeId, nodes: Collection[NodeId]) -> list[NodeId]:
    """Those whom `me` watches: everybody is watched by as many."""
    others = sorted(nodes)
    start = sum(1 for node in others if node <= me)
    ring = [node for node in others[start:] + others[:start] if node != me]
    return ring[:NEIGHBOURS]
