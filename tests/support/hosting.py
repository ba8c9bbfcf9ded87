"""Hosts of rooms over one store in memory, and people who ask them without a gateway in between.

`world()` is where a test lives: at its end, every question must have been answered exactly once.
"""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import lru_cache
from itertools import count
from typing import Any

from tests.support.held import HeldArchive, HeldLog
from tests.support.virtual_time import clock, until

from roomful_protocol.blocks import Block, Entry, Member
from roomful_protocol.codecs.stored import unpack_block
from roomful_protocol.frames import NEW, ClientId, Since, Target
from roomful_protocol.ids import PARTITIONS, Partition
from roomful_protocol.messages import (
    MOVED,
    Accepted,
    Answer,
    Ask,
    Command,
    Denied,
    Enter,
    Entries,
    Exit,
    Listing,
    Live,
    Read,
    Say,
    Sender,
    Welcome,
    Who,
)  # fmt: skip
from roomful_rooms.actor import Limits
from roomful_rooms.host import RoomHost
from roomful_rooms.kinds import Kinds
from roomful_rooms.memory_link import Link
from roomful_rooms.memory_log import LogStore
from roomful_rooms.recovery import Recovered
from roomful_rooms.room import ChatRoom, Room
from roomful_rooms.tasks import Tasks

ROOM = "lobby"

unpacked = lru_cache(unpack_block)
"""A block of the log; decoded once, however often the log is read while something is waited for."""


class Asked:
    """One question, and what came back."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.answers: list[Answer] = []

    def __call__(self, answer: Answer) -> None:
        self.answers.append(answer)

    def __repr__(self) -> str:
        return f"<{self.command.ask} n={self.command.n}: {self.answers}>"

    @property
    def answer(self) -> Answer | None:
        """The answer, if it has come; there must not be a second."""
        assert len(self.answers) < 2, self
        return self.answers[0] if self.answers else None

    @property
    def accepted(self) -> Accepted:
        assert isinstance(self.answer, Accepted), self
        return self.answer

    @property
    def denied(self) -> Denied:
        assert isinstance(self.answer, Denied), self
        return self.answer

    @property
    def welcome(self) -> Welcome:
        assert isinstance(self.answer, Welcome), self
        return self.answer

    @property
    def listing(self) -> Listing:
        assert isinstance(self.answer, Listing), self
        return self.answer

    @property
    def entries(self) -> Entries:
        assert isinstance(self.answer, Entries), self
        return self.answer

    async def answered(self, within_s: float = 60) -> Answer:
        await until(lambda: self.answers, within_s)
        assert self.answer is not None
        return self.answer


class Node:
    """One node's host, and its own way to the store."""

    def __init__(
        self, world: "World", name: str, kind: type[Room], limits: Limits, idle_s: float
    ) -> None:
        self.name = name
        self.link = Link()
        self.log = HeldLog(world.store, self.link)
        self.archive = HeldArchive(world.store, self.link)
        self.gates = {
            "write": self.log.may_write, "tell": self.log.may_tell, "save": self.archive.may_save,
        }  # fmt: skip
        self.tasks = Tasks(name)
        self.lives: list[tuple[str, Live]] = []
        self.beacons: list[tuple[str, int, bool]] = []
        self.blocks: list[Block] = []
        self.left: list[str] = []
        self.doubts: list[bool] = []
        self.host = RoomHost(
            name, kinds=Kinds(default=kind), log=self.log, archive=self.archive, clock=clock(),
            new_id=world.new_id, tasks=self.tasks, limits=limits, idle_s=idle_s,
            live=lambda room, live: self.lives.append((room, live)),
            beacon=lambda *told: self.beacons.append(told),
            wrote=lambda _room, block, _seconds: self.blocks.append(block),
            left=self.left.append, doubt=self.doubts.append,
        )  # fmt: skip

    def own(self, term: int, partitions: Iterable[Partition] = range(PARTITIONS)) -> None:
        """Hold these partitions under `term`."""
        self.host.assign(dict.fromkeys(partitions, term))

    async def crash(self) -> None:
        """Stop in the middle of everything."""
        await self.tasks.close()
        self.log.lose()


class World:
    """A broker in memory and the nodes on it."""

    def __init__(self) -> None:
        self.store = LogStore()
        self.asked: list[Asked] = []
        self.nodes: list[Node] = []
        self._ids = count(1)

    def new_id(self) -> str:
        return f"{next(self._ids):08d}abcdefgh"

    def node(
        self,
        kind: type[Room] = ChatRoom,
        *,
        name: str | None = None,
        term: int | None = 1,
        limits: Limits | None = None,
        idle_s: float = 300,
    ) -> Node:
        """A node that holds all partitions under `term`; none, if that is None."""
        node = Node(self, name or f"n{len(self.nodes) + 1}", kind, limits or Limits(), idle_s)
        self.nodes.append(node)
        if term is not None:
            node.own(term)
        return node

    # -- what is in the log ------------------------------------------------------------------------

    def blocks(self, room: str = ROOM) -> list[Block]:
        return [unpacked(record.data) for record in self.store.records.get(room, ())]

    def frames(self, room: str = ROOM) -> list[dict[str, Any]]:
        """All events, as clients see them; checked to be numbered without a hole."""
        entries = [entry for block in self.blocks(room) for entry in block.entries]
        assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
        frames = [json.loads(entry.frame) for entry in entries]
        assert [frame["seq"] for frame in frames] == [entry.seq for entry in entries]
        return frames

    def said(self, room: str = ROOM) -> list[Any]:
        """The data of all messages, in order."""
        return [frame.get("data") for frame in self.frames(room) if frame["type"] != "presence"]

    def folded(self, room: str = ROOM) -> Recovered:
        """The room as its whole log has it, without any snapshot."""
        recovered = Recovered()
        for record in self.store.records.get(room, ()):
            recovered.apply(unpacked(record.data), record.position)
        return recovered

    def entries(self, room: str = ROOM) -> list[Entry]:
        return [entry for block in self.blocks(room) for entry in block.entries]


class Person:
    """One attachment of a session to a room, which numbers what it asks as a gateway would."""

    def __init__(
        self,
        world: World,
        node: Node,
        user: str,
        *,
        room: str = ROOM,
        session: str | None = None,
        attach: str | None = None,
        gateway: str | None = None,
    ) -> None:
        """`gateway`: the node that has its socket; none: that of the host."""
        self.world, self.node, self.room = world, node, room
        session = session or f"{node.name}-{user}"
        attach = attach or f"{user}-at-{node.name}"
        self.sender = Sender(session, user, user.title(), gateway or node.name, attach)
        self.last = 0
        self._numbered: dict[int, list[Asked]] = {}

    @property
    def member(self) -> Member:
        by = self.sender
        return Member(by.session, by.user, by.name, by.node, by.attach)

    def at(self, node: Node) -> "Person":
        """The same attachment, asking another host."""
        self.node = node
        return self

    def ask(
        self,
        ask: Ask,
        n: int | None = None,
        base: int | None = None,
        answers: list[Answer] | None = None,
    ) -> Asked:
        """`answers`: where to put them, if that is to do something about it."""
        if n is None:
            n = self.last = self.last + 1
        base = self._base(n) if base is None else base
        asked = Asked(Command(self.room, self.sender, ask, n, base))
        if n:
            self._numbered.setdefault(n, []).append(asked)
        if answers is not None:
            asked.answers = answers
        self.world.asked.append(asked)
        self.node.host.receive(asked.command, asked)
        return asked

    def _base(self, n: int) -> int:
        """The lowest number that is not answered for good."""
        for number, attempts in list(self._numbered.items()):
            if all(asked.answers in ([], [MOVED]) for asked in attempts):
                return min(number, n)
            del self._numbered[number]
        return n

    def again(self, asked: Asked) -> Asked:
        """The same question once more."""
        return self.ask(asked.command.ask, asked.command.n)

    def enter(self, since: Since = NEW, epoch: str | None = None) -> Asked:
        return self.ask(Enter(since, epoch))

    def leave(self) -> Asked:
        return self.ask(Exit())

    def say(
        self, data: object, type: str = "chat.message", id: ClientId | None = None,
        to: tuple[Target, ...] = (), *, ephemeral: bool = False, echo: bool = True,
    ) -> Asked:  # fmt: skip
        say = Say(type, data, id, None, to, ephemeral, echo)
        return self.ask(say, 0 if ephemeral else None)

    def who(self) -> Asked:
        return self.ask(Who(), 0)

    def read(self, after: int | None = None, before: int | None = None, limit: int = 256) -> Asked:
        return self.ask(Read(after, before, limit), 0)

    async def entered(self, since: Since = NEW) -> "Person":
        """Join, and wait for the welcome."""
        assert isinstance(await self.enter(since).answered(), Welcome)
        return self


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    made = World()
    try:
        yield made
        await until(lambda: all(asked.answers for asked in made.asked))
    finally:
        for node in made.nodes:
            await node.tasks.close()
    unanswered = [asked for asked in made.asked if len(asked.answers) != 1]
    assert not unanswered
