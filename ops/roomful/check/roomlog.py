"""What the log of a room holds: the other half of what a verdict is made from."""

from collections.abc import Sequence
from dataclasses import dataclass

from roomful.check.content import Content
from roomful_protocol.blocks import EVERYONE, Audience, Block, Exited
from roomful_protocol.codecs.json import loads
from roomful_protocol.ids import NodeId, RoomName, SessionId


@dataclass(frozen=True, slots=True)
class Logged:
    """One entry of a room's log."""

    seq: int
    content: Content
    audience: Audience = EVERYONE


@dataclass(frozen=True, slots=True)
class Written:
    """One block, without its entries. `exits`: who left in it, and why."""

    term: int
    writer: str
    number: int
    epoch: str
    first: int
    last: int
    count: int
    exits: tuple[tuple[SessionId, str], ...] = ()

    @property
    def node(self) -> NodeId | None:
        """The node that wrote it, if its writer says so."""
        node, dot, _ = self.writer.partition(".")
        return node if dot else None


@dataclass(frozen=True, slots=True)
class RoomLog:
    """A room's entries, from the oldest that is kept, and the blocks that brought them, where they
    could be read."""

    room: RoomName
    epoch: str
    entries: tuple[Logged, ...]
    blocks: tuple[Written, ...] = ()

    @classmethod
    def of(cls, room: RoomName, blocks: Sequence[Block]) -> "RoomLog":
        """The log that consists of `blocks`."""
        return cls(
            room,
            blocks[-1].epoch if blocks else "",
            tuple(
                Logged(entry.seq, Content.of(loads(entry.frame)), entry.audience)
                for block in blocks
                for entry in block.entries
            ),
            tuple(_written(block) for block in blocks),
        )

    @property
    def oldest(self) -> int:
        return self.entries[0].seq if self.entries else 1

    @property
    def head(self) -> int:
        return self.entries[-1].seq if self.entries else 0


def _written(block: Block) -> Written:
    exits = tuple((one.session, one.reason) for one in block.members if isinstance(one, Exited))
    at = (block.epoch, block.first, block.last, block.count)
    return Written(block.term, block.writer, block.number, *at, exits)
