"""Nodes are killed, paused and drained, and the broker is killed, while people chat."""

import asyncio
import signal

import pytest
from tests.cluster.conftest import Connect, StartNode
from tests.support.chatter import Chatter
from tests.support.checks import check_acked_once, check_contiguous
from tests.support.cluster import NodeProcess, until
from tests.support.nats_server import NatsServer

SAYINGS = 60


async def _talk(chatters: list[Chatter], fault: object) -> None:
    """Everybody says `SAYINGS` things; `fault` (a coroutine function) strikes in the middle."""
    halfway = asyncio.Event()

    async def speak(chatter: Chatter) -> None:
        for number in range(SAYINGS):
            await chatter.say(f"{chatter.name} {number}")
            if number == SAYINGS // 3:
                halfway.set()

    async def strike() -> None:
        await halfway.wait()
        await fault()  # type: ignore[operator]

    async with asyncio.TaskGroup() as group:
        group.create_task(strike(), name="fault")
        for chatter in chatters:
            group.create_task(speak(chatter), name=chatter.name)


async def _check(chatters: list[Chatter], reader: NodeProcess, connect: Connect) -> None:
    """All acknowledged is in the log once; everybody heard the whole log, in its order."""
    room = chatters[0].room
    witness = await connect(reader, room=room, since=0, user="witness")
    joined = await witness.where(type="joined", room=room)
    head = joined["data"]["seq"]
    await until(lambda: len(witness.events(room)) >= head, f"the log up to {head}")
    log = witness.events(room)
    check_contiguous(log, 0)
    texts = witness.texts(room)
    for chatter in chatters:
        check_acked_once(texts, chatter.acked)
        said = [text for text in texts if text.startswith(f"{chatter.name} ")]
        assert said == [f"{chatter.name} {number}" for number in range(SAYINGS)]
        await chatter.reconnect()

        def caught_up(chatter: Chatter = chatter) -> bool:
            chatter.collect()
            return bool(chatter.last >= head)

        await until(caught_up, f"{chatter.name} hears up to {head}")
        assert not chatter.gaps
        check_contiguous(chatter.heard, chatter.start_seq)
        mine = {event["seq"]: event["data"] for event in chatter.heard}
        assert all(mine.get(e["seq"], e["data"]) == e["data"] for e in log)


@pytest.fixture
async def party(start_node: StartNode) -> tuple[list[NodeProcess], list[Chatter]]:
    nodes = [await start_node(), await start_node()]
    both = [nodes, nodes[::-1]]
    chatters = [Chatter(name, "lobby", both[i % 2]) for i, name in enumerate(("ann", "bob", "cid"))]
    for chatter in chatters:
        await chatter.connect()
    return nodes, chatters


Party = tuple[list[NodeProcess], list[Chatter]]


@pytest.mark.parametrize("victim", [0, 1])
async def test_kill_9_of_either_node(party: Party, victim: int, connect: Connect) -> None:
    nodes, chatters = party
    await _talk(chatters, nodes[victim].kill)
    await _check(chatters, nodes[1 - victim], connect)
    for chatter in chatters:
        assert len(chatter.sessions) == 1, "a session that came back in time was lost"
        await chatter.close()


async def test_the_broker_is_killed_and_restarted(
    party: Party, frail_server: NatsServer, connect: Connect
) -> None:
    nodes, chatters = party

    async def restart() -> None:
        frail_server.kill()
        await asyncio.sleep(0.5)  # the outage itself, not a wait for anything
        frail_server.start()

    await _talk(chatters, restart)
    await _check(chatters, nodes[0], connect)
    for chatter in chatters:
        await chatter.close()
    assert all("Traceback" not in node.log for node in nodes)


async def test_a_paused_owner_is_replaced_and_cannot_be_heard(
    party: Party, connect: Connect
) -> None:
    nodes, chatters = party

    async def pause() -> None:
        nodes[0].signal(signal.SIGSTOP)
        await until(lambda: "node.lost" in nodes[1].log, "the other node sees that it is gone")
        await until(lambda: "partitions.claimed" in nodes[1].log.rpartition("node.lost")[2],
                    "the other node takes over")  # fmt: skip
        nodes[0].signal(signal.SIGCONT)

    await _talk(chatters, pause)
    await _check(chatters, nodes[1], connect)
    for chatter in chatters:
        await chatter.close()


async def test_drain_moves_rooms_and_asks_clients_to_leave(party: Party, connect: Connect) -> None:
    nodes, chatters = party
    guest = await connect(nodes[0], room="lobby", user="guest")
    await guest.next("joined")
    codes: list[int] = []

    async def drain() -> None:
        codes.append(await nodes[0].stop())

    await _talk(chatters, drain)
    assert codes == [0]
    bye = await guest.next("bye")
    assert bye["data"]["code"] == "drain"
    assert bye["data"]["resume"]
    assert await guest.until_closed() == 1012
    await _check(chatters, nodes[1], connect)
    for chatter in chatters:
        await chatter.close()


async def test_members_of_a_dead_node_leave_after_their_grace(
    start_node: StartNode, connect: Connect
) -> None:
    one, two = await start_node(), await start_node()
    ann = await connect(two, room="lobby", user="ann")
    await ann.next("joined")
    gone = await connect(one, room="lobby", user="gone")
    await gone.next("joined")
    back = Chatter("back", "lobby", [one, two])
    await back.connect()
    await ann.where(type="presence", data__count=3)
    await one.kill()
    await back.reconnect()

    def left() -> list[str]:
        presences = [e for e in ann.events("lobby") if e["type"] == "presence"]
        return [one["user"] for e in presences for one in e["data"]["left"]]

    await until(left, "the dead node's member leaves", within_s=15)
    listed = await ann.ask({"type": "members", "room": "lobby"})
    assert {m["user"] for m in listed["data"]["members"]} == {"ann", "back"}
    assert left() == ["gone"], "whoever came back within the grace was announced as left"
    await back.close()
