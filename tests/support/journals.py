"""What tests of a room's log and of its checkpoints do alike."""

import pytest
from tests.support.hosting import ROOM, Node, Person, World
from tests.support.virtual_time import until

from roomful_protocol.codecs.stored import unpack_snapshot
from roomful_protocol.messages import Accepted
from roomful_rooms import checkpoints
from roomful_rooms.journal import Journal

SNAP = (ROOM, "snap")


def write_often(patch: pytest.MonkeyPatch) -> None:
    """Make a checkpoint due at every second block."""
    patch.setattr(checkpoints, "CHECKPOINT_BLOCKS", 1)


def journal(node: Node) -> Journal:
    return node.host._actors[ROOM].journal


async def said(person: Person, *texts: str) -> None:
    for text in texts:
        assert isinstance(await person.say(text).answered(), Accepted)


async def checkpointed(w: World, seq: int) -> None:
    await until(lambda: SNAP in w.store.blobs and unpack_snapshot(w.store.blobs[SNAP]).seq >= seq)
