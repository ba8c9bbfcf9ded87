"""One nats-server is killed, hangs, or is slow, while people chat: their sockets stay."""

import asyncio
from urllib.parse import urlsplit

from tests.cluster.conftest import Connect, StartNode
from tests.support.cluster import until
from tests.support.nats_server import NatsServer
from tests.support.party import Party

from roomful.check.proxy import FaultProxy


async def test_the_broker_is_killed_and_restarted_and_then_away_for_longer_than_the_lease(
    party: Party, frail_server: NatsServer
) -> None:
    async def restart(after_s: float) -> None:
        frail_server.kill()
        await asyncio.sleep(after_s)  # the outage itself, not a wait for anything
        frail_server.start()

    await party.talk(lambda: restart(0.5))
    await party.check(party.nodes[0])
    assert not any("host.suspended" in node.log for node in party.nodes)
    await party.talk(lambda: restart(4.0))
    await party.check(party.nodes[0])
    assert all("host.suspended" in node.log for node in party.nodes)
    assert party.stayed
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
    assert 1.4 < asyncio.get_running_loop().time() - sent < 8.0
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


async def test_the_broker_answers_late_and_resets_its_connections_again_and_again(
    start_node: StartNode, frail_server: NatsServer
) -> None:
    async with FaultProxy("127.0.0.1", urlsplit(frail_server.url).port or 0) as line:
        nats = f"nats://127.0.0.1:{line.port}"
        party = Party(await asyncio.gather(start_node(nats=nats), start_node(nats=nats)))
        connections = line.accepted

        async def late() -> None:
            line.delay(0.4, "down")

        async def reset() -> None:
            for times in range(1, 6):
                line.reset()
                await until(
                    lambda times=times: line.accepted >= connections * (times + 1),  # type: ignore[misc]
                    "all have connected again",
                )

        await party.gather()
        await party.talk(late, sayings=6)
        line.heal()
        await party.check(party.nodes[0])
        assert not any(chatter.refused for chatter in party.chatters)
        await party.talk(reset)
        await party.check(party.nodes[0])
        assert party.stayed
        await party.leave()
