"""All rooms that members of this node are in: one feed each, for as long as somebody listens."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from roomful_nodes.bus import Bus, Message
from roomful_nodes.delays import Delays
from roomful_nodes.feed import Feed, patience
from roomful_nodes.history import Asks, History
from roomful_nodes.metrics import Metrics
from roomful_protocol.blocks import Block
from roomful_protocol.codecs.internode import unpack_live
from roomful_protocol.ids import NodeId, RoomName
from roomful_protocol.messages import Live, Sender
from roomful_protocol.subjects import Subjects
from roomful_rooms.log import Archive, Following, Log
from roomful_rooms.tasks import Tasks

LINGER_S: Final = 5.0
"""A feed that nobody needs any more is kept for so long: people reload pages."""

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class _Open:
    """A feed, how many memberships hold it, and what it follows once that is established: what the
    room's log announces, and the live subject. `settling`: while that is being established."""

    feed: Feed
    holders: int = 0
    announced: Following | None = None
    live: Following | None = None
    settling: bool = False


class Hub:
    """Feeds by room. Hold one with `feed`, and let it go with `release`, as often.

    A room that this very node writes to need not be announced to it: who has heard a block of its
    own, as just what comes next, has heard all that there is, and nobody else writes until the
    room is left here (`heed`), or the node's lease is in doubt (`doubt`). Then the feed follows
    what is announced, and reads what it may have missed before that.
    """

    def __init__(
        self,
        node: NodeId,
        *,
        log: Log,
        archive: Archive,
        bus: Bus,
        subjects: Subjects,
        asks: Asks,
        loop: asyncio.AbstractEventLoop,
        tasks: Tasks,
        metrics: Metrics,
    ) -> None:
        self.history = History(asks, archive, tasks)
        self._log, self._bus, self._subjects = log, bus, subjects
        self._loop, self._tasks, self._metrics = loop, tasks, metrics
        # The feeds' own reading, on nobody's behalf.
        self._reader = Sender(session=f"{node}-hub", user="", name="", node=node, attach="")
        self._open: dict[RoomName, _Open] = {}
        self._doubting = False
        self._lingering = Delays[_Open](LINGER_S, self._expire, loop)
        self._patience = patience(loop)

    def __len__(self) -> int:
        return len(self._open)

    def feed(self, room: RoomName) -> Feed:
        """The feed of `room`, opened if it is not; to be released."""
        opened = self._open.get(room)
        if opened is None:
            feed = Feed(
                room, reader=self._reader, history=self.history, patience=self._patience,
                loop=self._loop, tasks=self._tasks, metrics=self._metrics,
            )  # fmt: skip
            opened = self._open[room] = _Open(feed)
            self._begin(opened)
        if not opened.holders:
            self._lingering.call_off(opened)
        opened.holders += 1
        return opened.feed

    def release(self, feed: Feed) -> None:
        opened = self._open.get(feed.room)
        if opened is None:
            return  # All are closed already.
        opened.holders -= 1
        if not opened.holders:
            self._lingering.begin(opened)

    def hear_live(self, room: RoomName, live: Live) -> None:
        """What a room of this very node says on its live subject: the bus does not tell us."""
        if (opened := self._open.get(room)) is not None:
            opened.feed.hear_live(live)

    def hear_own(self, room: RoomName, block: Block) -> None:
        """What a room of this very node has written, and its log acknowledged."""
        if (opened := self._open.get(room)) is None:
            return
        try:
            heard = opened.feed.hear_own(block)
        except Exception:
            # As where the log announces it: no listener's fault harms whoever tells it.
            log.exception("hub.listener_failed", room=room)
            return
        if not heard:
            if opened.announced is None:
                opened.feed.check()
        elif opened.announced is not None and not self._doubting:
            announced, opened.announced = opened.announced, None
            self._tasks.start(announced.close(), f"unfollow {room}")

    def heed(self, room: RoomName) -> None:
        """This node has ended writing to `room`: others may, from now on."""
        if (opened := self._open.get(room)) is not None:
            self._begin(opened)

    def doubt(self, doubting: bool) -> None:
        """Others may write to any room while this node's lease is in doubt."""
        self._doubting = doubting
        if doubting:
            for opened in self._open.values():
                self._begin(opened)

    def check(self) -> None:
        """Announcements may have been missed, by a lost connection say: compare all with owners."""
        for opened in self._open.values():
            if opened.announced is None:
                self._begin(opened)
            else:
                opened.feed.check()

    async def close(self) -> None:
        """Stop following. The memberships must have gone."""
        closing, self._open = list(self._open.values()), {}
        self._lingering.close()
        for opened in closing:
            await self._close(opened)
        self._patience.close()

    def _begin(self, opened: _Open) -> None:
        """Have what the room's log announces followed, if it is not; and checked."""
        if opened.announced is None and not opened.settling:
            opened.settling = True
            self._tasks.start(self._follow(opened), f"follow {opened.feed.room}")

    async def _follow(self, opened: _Open) -> None:
        feed = opened.feed
        try:
            if opened.live is None:
                opened.live = await self._bus.subscribe(
                    self._subjects.live(feed.room), partial(self._heard_live, opened)
                )
            # Last: what was followed while this goes on might be followed no more at its end, and
            # whoever wanted it again (`_begin`) would have relied on this.
            opened.announced = await self._log.follow(feed.room, feed.hear)
        finally:
            opened.settling = False
        if self._open.get(feed.room) is not opened:
            await self._close(opened)
            return
        # Joins do not wait for this; so blocks may have been written between the answer to one and
        # the moment from which on they are announced here.
        feed.check()

    def _heard_live(self, opened: _Open, message: Message) -> None:
        # Another node runs the room, whatever this one knows of that yet.
        self._begin(opened)
        try:
            opened.feed.hear_live(unpack_live(message.payload))
        except ValueError:
            log.exception("hub.unreadable", room=opened.feed.room, subject=message.subject)

    def _expire(self, opened: _Open) -> None:
        del self._open[opened.feed.room]
        self._tasks.start(self._close(opened), f"unfollow {opened.feed.room}")

    async def _close(self, opened: _Open) -> None:
        opened.feed.close()
        following = (opened.announced, opened.live)
        opened.announced = opened.live = None
        for one in following:
            if one is not None:
                await one.close()
