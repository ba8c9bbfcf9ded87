"""Clients and rooms that come and go: nothing is left of them, without the collector's help."""

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator
from types import CoroutineType, FrameType, TracebackType

import pytest
import uvloop
from tests.support.cluster import until
from tests.support.nodes import MemoryCluster, MemoryNode
from tests.support.raw import RawClient, masked

from roomful_nodes import hub as hub_module
from roomful_nodes import listening as listening_module
from roomful_nodes.entrance import Entrance
from roomful_rooms import host as host_module

ROOMS = 5
AT_ONCE = 25
ROUNDS = 6
OURS = ("roomful_nodes.", "roomful_rooms.", "aiohttp.", "asyncio.", "_asyncio", "uvloop")
STORED = {"Record", "Link", "Done"}
"""What rooms remember of their members, and the memory twin of what was written."""


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept for a while."""
    monkeypatch.setattr(listening_module, "LINGER_S", 0.01)
    monkeypatch.setattr(hub_module, "LINGER_S", 0.01)
    monkeypatch.setattr(host_module, "TEND_S", 0.1)


@pytest.fixture
def uncollected() -> Iterator[None]:
    """The collector is off from here on."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def visit(url: str, number: int) -> None:
    """Come in, join, and go: politely, without a word, or in the middle of a message."""
    client = await RawClient.open(url, f"?room=churn-{number % ROOMS}&user=u{number}")
    while (await client.message())["type"] != "joined":
        pass
    match number % 3:
        case 0:
            client.send(masked(b'{"type":"bye"}'))
            await client.rest()
        case 1:
            client.abort()
        case _:
            client.send(masked(b'{"type":"ping"}')[:-5])
    await client.close()


async def crowds(node: MemoryNode, rounds: int) -> Counter[str]:
    """Many clients come and go; what exists afterwards, by kind."""
    for _ in range(rounds):
        await asyncio.gather(*(visit(node.url, number) for number in range(AT_ONCE)))
    await until(lambda: not len(node.gateway) + len(node.gateway.sessions), "all have gone")
    await until(lambda: not len(node.hub), "no room is heard")
    await until(lambda: not node.node._host.rooms, "no room is open")
    await until(lambda: not node.gateway.sessions._users._subjects, "no user is listened to")
    await asyncio.sleep(0.05)
    return Counter(filter(None, map(kind, gc.get_objects())))


def kind(one: object) -> str:
    """The type of what is the node's or its libraries'; empty for all else."""
    type_ = type(one)
    if isinstance(one, CoroutineType | FrameType | TracebackType):
        return type_.__name__
    if type_.__name__ in STORED or not str(type_.__module__).startswith(OURS):
        return ""
    return f"{type_.__module__}.{type_.__qualname__}"


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("way", ["short", "long"])
def test_nothing_is_left_of_those_who_have_gone(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On uvloop, as in the product: asyncio's own transports do leave cycles."""
    if way == "long":
        monkeypatch.setattr(Entrance, "take", lambda *_: False)

    async def run() -> dict[str, int]:
        async with MemoryCluster().node(
            grace_s=0.02, idle_s=0.05, limit_connects_per_s=1e6
        ) as node:
            before = await crowds(node, 1)
            more = await crowds(node, ROUNDS) - before
            # As many one for each room, once.
            return {name: count for name, count in more.items() if count >= ROOMS}

    assert uvloop.run(run()) == {}
