"""A room's owner in memory: commits what it is told, announces it as badly as it is told, and
answers as an actor would."""

import asyncio
from collections.abc import Callable
from functools import partial

from tests.support.sockets import entry

from roomful_nodes.lane import Answered, Lane
from roomful_protocol.blocks import EVERYONE, Audience, Block, Member, Page
from roomful_protocol.codecs.stored import pack_block, page_pieces
from roomful_protocol.messages import (
    Accepted,
    Answer,
    Ask,
    Denied,
    Enter,
    Exit,
    Listing,
    Read,
    Say,
    Sender,
    Welcome,
    Who,
)  # fmt: skip
from roomful_rooms.log import Record
from roomful_rooms.memory_link import Listener
from roomful_rooms.memory_log import LogStore, MemoryArchive, MemoryLog
from roomful_rooms.recent import Recent
from roomful_rooms.welcome import served_from


class Announcer(MemoryLog):
    """A log that announces some records not at all, or twice: `times`, by position."""

    def __init__(self, store: LogStore) -> None:
        super().__init__(store)
        self.times: dict[int, int] = {}

    async def follow(self, room: str, heard: Callable[[Record], None]) -> Listener[Record]:
        def announced(record: Record) -> None:
            for _ in range(self.times.get(record.position, 1)):
                heard(record)

        return await super().follow(room, announced)


class ScriptedRoom:
    """One room and its owner. `asked` are all questions, `denials` answer the next ones."""

    def __init__(self, name: str = "lobby", epoch: str = "e1") -> None:
        self.name = name
        self.store = LogStore()
        self.log = Announcer(self.store)
        self.archive = MemoryArchive(self.store)
        self.recent = Recent(epoch, 0, ())
        self.members: dict[str, Member] = {}
        self.asked: list[tuple[Sender, Ask]] = []
        self.denials: list[Denied] = []
        self.silent = False
        self.delay_turns = 0
        self.position = 0

    # -- what happens in it ------------------------------------------------------------------------

    @property
    def head(self) -> int:
        return self.recent.head

    def commit(self, *audiences: Audience, text: str = "hi", times: int = 1) -> Block:
        """One block with an entry for each audience, announced `times` times."""
        first = self.head + 1
        entries = tuple(entry(first + i, one, text) for i, one in enumerate(audiences))
        block = Block(1, "w", 1, self.recent.epoch, first, 0, len(self.members), entries)
        self.recent.add(entries)
        self.position = self.store.append(self.name, pack_block(block), self.position)
        # Whoever follows is told in a later turn, so this comes in time.
        self.log.times[self.position] = times
        return block

    def say(self, *texts: str) -> None:
        for text in texts:
            self.commit(EVERYONE, text=text)

    def forget(self, keep: int) -> None:
        """Keep only so many events."""
        recent = self.recent
        entries = recent.all_after(recent.head - keep) or ()
        self.recent = Recent(recent.epoch, recent.head - len(entries), ())
        self.recent.add(entries)

    async def page(self) -> None:
        """Pack what has not been packed, and let it leave memory."""
        unpaged = self.recent.unpaged(self.head)
        if unpaged:
            page = Page(unpaged[0].seq, unpaged[-1].seq)
            await self.archive.save(self.name, page.key, b"".join(page_pieces(unpaged)))
            self.recent.page_written(page)
            pages, epoch, head = self.recent.pages, self.recent.epoch, self.head
            self.recent = Recent(epoch, head, pages)

    # -- what it answers ---------------------------------------------------------------------------

    def lane(self, room: str, sender: Sender) -> Lane:
        return Lane(room, sender, self._send)

    def _send(self, lane: Lane, ask: Ask, n: int, answered: Answered) -> None:
        """Answer each question `delay_turns` turns of the loop after it was decided."""
        if self.silent:
            self.asked.append((lane.sender, ask))
            return
        settle = partial(lane.settle, n, answered)
        _after(self.delay_turns, settle, self.answer(lane.sender, ask))

    async def request(self, room: str, sender: Sender, ask: Ask) -> Answer:
        await asyncio.sleep(0)
        return self.answer(sender, ask)

    def answer(self, sender: Sender, ask: Ask) -> Answer:
        self.asked.append((sender, ask))
        if self.denials:
            return self.denials.pop(0)
        match ask:
            case Read():
                return self.recent.read(ask)
            case Enter():
                return self._welcome(sender, ask)
            case Exit():
                self.members.pop(sender.session, None)
                return Accepted()
            case Who():
                return Listing(self.head, self.recent.epoch, len(self.members), self._listed())
            case Say():
                return self._said(sender, ask)

    def _listed(self) -> tuple[Member, ...]:
        return tuple(self.members.values())

    def _welcome(self, sender: Sender, enter: Enter) -> Welcome:
        self.members[sender.session] = Member(
            sender.session, sender.user, sender.name, sender.node, sender.attach
        )
        start, recovered, gap = served_from(enter.since, enter.epoch, self.recent)
        return Welcome(
            self.head, self.recent.epoch, len(self.members), self._listed(), start,
            self.recent.all_after(start), recovered, gap,
        )  # fmt: skip

    def _said(self, sender: Sender, say: Say) -> Answer:
        if say.ephemeral:
            return Accepted()
        skip = None if say.echo else sender.session
        users = tuple(target.value for target in say.to)
        self.commit(Audience(users=users, skip=skip) if users or skip else EVERYONE)
        return Accepted(self.head, delivered=1 if users else None)


def _after(turns: int, answered: Callable[[Answer], None], answer: Answer) -> None:
    if turns:
        asyncio.get_running_loop().call_soon(_after, turns - 1, answered, answer)
    else:
        answered(answer)
