"""Nodes are drained, restarted one after the other and added while people chat: nobody notices."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from tests.cluster.conftest import Connect, StartNode
from tests.support.chatter import Chatter
from tests.support.cluster import NodeProcess, until
from tests.support.party import Party

PAUSE_S = 0.03
"""Between what one chatter says and the next."""
HICCUP_S = 2.0
"""Far above what a hand-over takes, as these machines are busy; the bench knows how long it is."""


@pytest.fixture
async def trio(start_node: StartNode) -> AsyncIterator[Party]:
    """Three people on three nodes."""
    nodes = [await start_node("--node-id", f"n{number}") for number in range(3)]
    party = Party(nodes)
    await party.gather()
    yield party
    await party.leave()


async def talk_through(chatters: list[Chatter], fault: Callable[[], Awaitable[None]]) -> float:
    """Everybody goes on talking until `fault` is over; the longest time from saying to ack, in
    seconds, of those whose socket stayed open."""
    longest = 0.0
    loop = asyncio.get_running_loop()

    async def speak(chatter: Chatter) -> None:
        nonlocal longest
        while not struck.done():
            before, asked = chatter.connections, loop.time()
            await chatter.say(f"{chatter.name} {len(chatter.acked)}")
            if chatter.connections == before:
                longest = max(longest, loop.time() - asked)
            await asyncio.sleep(PAUSE_S)

    async with asyncio.TaskGroup() as group:
        struck = group.create_task(_after_a_while(chatters, fault), name="fault")
        for chatter in chatters:
            group.create_task(speak(chatter), name=chatter.name)
    return longest


async def _after_a_while(chatters: list[Chatter], fault: Callable[[], Awaitable[None]]) -> None:
    begun = [len(chatter.acked) for chatter in chatters]
    await until(
        lambda: all(len(c.acked) > n + 5 for c, n in zip(chatters, begun, strict=True)),
        "everybody talks",
    )
    await fault()


def check_nobody_noticed(party: Party) -> None:
    """Nobody was told of an error, and nobody was announced to have come or gone."""
    for chatter in party.chatters:
        assert chatter.refused == []
        assert len(chatter.sessions) == 1, "a session did not survive"
        presences = [event["data"] for event in chatter.heard if event["type"] == "presence"]
        left = [one["user"] for presence in presences for one in presence["left"]]
        assert set(left).isdisjoint(chatter.name for chatter in party.chatters)


async def test_restarting_every_node_in_turn(trio: Party, start_node: StartNode) -> None:
    codes: list[int] = []

    async def restart_each() -> None:
        for number, node in enumerate(list(trio.nodes)):
            codes.append(await node.stop())
            again = await start_node("--node-id", f"n{number}", port=node.port)
            trio.nodes[number] = again

    longest = await talk_through(trio.chatters, restart_each)
    assert codes == [0, 0, 0]
    assert longest < HICCUP_S
    for node in trio.nodes:
        await trio.check(node)
    check_nobody_noticed(trio)
    assert all("Traceback" not in node.log for node in trio.nodes)


async def roomful(*args: str) -> tuple[int, str, str]:
    """Run the command line to its end: its exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "roomful", *args,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode or 0, out.decode(), err.decode()


async def test_a_node_is_drained_from_another_and_stays_until_it_is_stopped(
    trio: Party, connect: Connect
) -> None:
    drained, through = trio.nodes[0], trio.nodes[1]
    guests = [await connect(drained, room="lobby", user=f"guest-{n}") for n in range(5)]
    outcome: list[tuple[int, str, str]] = []

    async def drain() -> None:
        outcome.append(
            await roomful("drain", "n0", "--window", "2s", "--json", "--url", through.url)
        )

    longest = await talk_through(trio.chatters, drain)
    [(code, out, err)] = outcome
    assert (code, err) == (0, "")
    told = [json.loads(line) for line in out.splitlines()]
    assert told[0]["state"] == "draining"
    assert (told[-1]["state"], told[-1]["partitions"], told[-1]["connections"]) == ("drained", 0, 0)
    assert longest < HICCUP_S
    for guest in guests:
        assert (await guest.next("bye"))["data"]["resume"]
        assert await guest.until_closed() == 1012
    async with aiohttp.ClientSession() as http, http.get(f"{drained.url}/readyz") as response:
        assert response.status == 503
        assert (await response.json())["reasons"] == ["This node is drained."]
    await trio.check(through)
    check_nobody_noticed(trio)
    assert await drained.stop(within_s=10) == 0


async def test_two_nodes_drain_at_once(trio: Party) -> None:
    async def drain() -> None:
        one, two = await asyncio.gather(trio.nodes[0].stop(), trio.nodes[1].stop())
        assert (one, two) == (0, 0)

    await talk_through(trio.chatters, drain)
    await trio.check(trio.nodes[2])
    check_nobody_noticed(trio)


async def _shares(node: NodeProcess) -> list[float]:
    """What part of all there is to do each node has."""
    async with aiohttp.ClientSession() as http, http.get(f"{node.url}/api/nodes") as response:
        costs = [view["cost"] for view in (await response.json())["nodes"]]
    return [cost / sum(costs) for cost in costs]


async def test_a_cluster_grows_while_people_talk(start_node: StartNode) -> None:
    nodes = [await start_node()]
    parties = [Party(nodes, room=f"room-{number}") for number in range(6)]
    for party in parties:
        await party.gather()
    chatters = [chatter for party in parties for chatter in party.chatters]

    async def grow() -> None:
        for count in (2, 3):
            nodes.append(await start_node())

            async def fair(count: int = count) -> bool:
                shares = await _shares(nodes[0])
                return len(shares) == count and min(shares) > 0.6 / count

            await until(fair, f"{count} nodes share the work", within_s=60, every_s=0.2)

    longest = await talk_through(chatters, grow)
    assert longest < HICCUP_S
    for party in parties:
        await party.check(nodes[-1])
        check_nobody_noticed(party)
        assert party.stayed
        await party.leave()
