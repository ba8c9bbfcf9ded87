"""One nats-server is killed, hangs, or is slow, while people chat: their sockets stay."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest
from tests.cluster.conftest import Connect, StartNode
from tests.support.cluster import until
from tests.support.nats_server import NatsServer
from tests.support.party import Party

from roomful.check.proxy import FaultProxy


@pytest.fixture
async def line(frail_server: NatsServer) -> AsyncIterator[FaultProxy]:
    """The network between the nodes and their broker."""
    async with FaultProxy("127.0.0.1", urlsplit(frail_server.url).port or 0) as proxy:
        yield proxy


@pytest.fixture
async def party_on_line(start_node: StartNode, line: FaultProxy) -> AsyncIterator[Party]:
    nats = f"nats://127.0.0.1:{line.port}"
    async with AsyncExitStack() as leaving:
        party = Party([await start_node(nats=nats), await start_node(nats=nats)])
        await party.gather()
        leaving.push_async_callback(party.leave)
        yield party


async def test_the_broker_is_killed_and_restarted(party: Party, frail_server: NatsServer) -> None:
    async def restart() -> None:
        frail_server.kill()
        await asyncio.sleep(0.5)  # the outage itself, not a wait for anything
        frail_server.start()

    await party.talk(restart)
    await party.check(party.nodes[0])
    assert party.stayed
    assert all("Traceback" not in node.log for node in party.nodes)


async def test_the_broker_is_away_for_longer_than_the_lease(
    party: Party, frail_server: NatsServer
) -> None:
    async def restart() -> None:
        frail_server.kill()
        await asyncio.sleep(4.0)  # twice the lease
        frail_server.start()

    await party.talk(restart)
    await party.check(party.nodes[0])
    assert party.stayed
    assert all("host.suspended" in node.log for node in party.nodes)
    assert all("Traceback" not in node.log for node in party.nodes)


async def test_the_broker_hangs(party: Party, frail_server: NatsServer) -> None:
    async def hang() -> None:
        frail_server.pause()
        await asyncio.sleep(10.5)
        frail_server.resume()

    await party.talk(hang)
    await party.check(party.nodes[0])
    assert party.stayed
    assert all("Traceback" not in node.log for node in party.nodes)


async def test_commands_wait_for_the_broker_but_not_for_ever(
    start_node: StartNode, connect: Connect, frail_server: NatsServer
) -> None:
    node = await start_node("--request-timeout-s", "1.5")
    ann = await connect(node, room="lobby", user="ann")
    await ann.next("joined")
    frail_server.kill()
    message = {"type": "chat.message", "room": "lobby", "data": {"text": "hi"}, "id": "x" * 16}
    sent = asyncio.get_running_loop().time()
    await ann.send(message)
    # Whoever comes meanwhile is let in, and waits as well.
    bob = await connect(node, room="lobby", user="bob")
    denied = await ann.where(type="error", id=message["id"])
    assert 1.4 < asyncio.get_running_loop().time() - sent < 4.0
    assert (denied["error"]["code"], denied["error"]["retry"]) == ("unavailable", True)
    assert (await bob.next("error"))["error"]["code"] == "unavailable"
    frail_server.start()

    async with asyncio.timeout(10):
        while not [f for f in ann.frames if f["type"] == "ack"]:
            await ann.send(message)
            await ann.news()
    await until(lambda: ann.texts("lobby"), "it is heard")
    await ann.say("lobby", "last")
    await ann.where(type="chat.message", data__text="last")
    assert ann.texts("lobby") == ["hi", "last"]
    assert ann.closed is None


async def test_connections_to_the_broker_are_reset_again_and_again(
    party_on_line: Party, line: FaultProxy
) -> None:
    async def reset() -> None:
        for _ in range(5):
            before = line.accepted
            line.reset()
            await until(lambda before=before: line.accepted >= before + 6, "all reconnect")  # type: ignore[misc]

    await party_on_line.talk(reset)
    await party_on_line.check(party_on_line.nodes[0])
    assert party_on_line.stayed


async def test_the_broker_answers_late(party_on_line: Party, line: FaultProxy) -> None:
    async def slow() -> None:
        line.delay(0.4, "down")

    await party_on_line.talk(slow, sayings=6)
    line.heal()
    await party_on_line.check(party_on_line.nodes[0])
    assert party_on_line.stayed
    assert not any(chatter.refused for chatter in party_on_line.chatters)
