"""One nats-server is killed, hangs, or is slow, while people chat: their sockets stay."""

import asyncio

from tests.support.nats_server import NatsServer
from tests.support.party import Party


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
        await asyncio.sleep(10.0)
        frail_server.resume()

    await party.talk(hang)
    await party.check(party.nodes[0])
    assert party.stayed
    assert all("Traceback" not in node.log for node in party.nodes)
