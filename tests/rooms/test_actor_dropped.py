"""Rooms that are given up in the middle of something: nothing is left, without the collector."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest
from tests.support.hosting import ROOM, Node, Person, world
from tests.support.journals import journal
from tests.support.virtual_time import turns, until, virtual

from roomful_rooms import checkpoints as module
from roomful_rooms.room import ChatRoom, Message, on


class Slow(ChatRoom):
    @on("chat.slow")
    async def slow(self, message: Message) -> None:
        await asyncio.sleep(60)


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    """The collector is off."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def busy(node: Node, ann: Person, what: str) -> None:
    """Have the room in the middle of `what`."""
    match what:
        case "telling":
            node.log.may_tell.clear()
            ann.say("x")
        case "insisting":
            node.link.cut()
            ann.say("x")
        case "checkpoint":
            node.archive.may_save.clear()
            for _ in range(2):
                ann.say("x")
                await turns()
        case "pausing":
            node.archive.may_save.clear()
            for number in range(200):
                ann.say(str(number))
                await turns()
            assert journal(node)._pausing is not None
        case "handler":
            ann.say("x", "chat.slow")
        case _:
            pass
    await turns()


@pytest.mark.parametrize(
    "what", ["nothing", "telling", "insisting", "checkpoint", "pausing", "handler"]
)
@virtual
async def test_nothing_is_left_of_a_room_that_is_dropped(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(module, "CHECKPOINT_BLOCKS", 1)
    async with world() as w:
        node = w.node(Slow)
        ann = await Person(w, node, "ann").entered()
        await ann.say("x").answered()
        await busy(node, ann, what)
        left = [weakref.ref(one) for one in (node.host._actors[ROOM], journal(node))]
        node.host.assign({})
        node.link.mend()
        for gate in node.gates.values():
            gate.set()
        ann._numbered.clear()
        await until(lambda: all(asked.answers for asked in w.asked))
        w.asked.clear()
        await turns(20)
        assert [one() for one in left] == [None, None]
        assert node.left == [ROOM]
