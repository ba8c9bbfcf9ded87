"""What a node knows of the others: heard as it happens, and read again in case that was not all."""

import asyncio
from dataclasses import asdict

from tests.support.virtual_time import clock, turns, virtual

from roomful_nodes.view import TABLE, NodeInfo, View, key_of
from roomful_protocol.codecs.values import pack
from roomful_protocol.ids import PARTITIONS
from roomful_rooms.directory import Item
from roomful_rooms.memory_directory import DirectoryStore, MemoryDirectory
from roomful_rooms.ownership import Table
from roomful_rooms.tasks import Tasks


class SlowDirectory(MemoryDirectory):
    """Its answers are on their way until they may arrive."""

    def __init__(self, store: DirectoryStore) -> None:
        super().__init__(store)
        self.may_arrive = asyncio.Event()

    async def items(self) -> dict[str, Item]:
        found = await super().items()
        await self.may_arrive.wait()
        return found


def node(name: str) -> bytes:
    return pack(asdict(NodeInfo(name, "here", "1", 1)))


@virtual
async def test_who_comes_while_everything_is_read_is_not_taken_for_gone() -> None:
    store, tasks = DirectoryStore(clock()), Tasks("test")
    directory, view = SlowDirectory(store), View("me", lambda _: None)
    await directory.watch(view.hear)
    for name in ("old", "lost"):
        store.change(key_of(name), node(name), 0)
    await turns()
    # That it has gone is not heard of.
    del store.newest[key_of("lost")]
    reading = tasks.start(view.resync(directory), "resync")
    await turns()
    store.change(key_of("new"), node("new"), 0)
    await turns()
    directory.may_arrive.set()
    await reading
    assert set(view.nodes) == {"old", "new"}


def test_the_owner_of_a_room_is_whoever_was_last_heard_to_be() -> None:
    owners: list[str | None] = []
    view = View("me", lambda _: owners.append(view.owner("lobby")))
    table = Table().given(range(PARTITIONS), "n1")
    view.hear(Item(TABLE, table.packed(), 1))
    view.hear(Item(key_of("n1"), node("n1"), 2))
    view.hear(Item(key_of("n2"), node("n2"), 3))
    view.hear(Item(TABLE, table.given(range(PARTITIONS), "n2").packed(), 4))
    view.hear(Item(key_of("n2"), None, 5))
    assert owners == [None, "n1", "n1", "n2", None]
