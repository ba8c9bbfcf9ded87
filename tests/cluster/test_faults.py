"""Nodes are killed, paused and drained while people chat."""

import signal

import pytest
from tests.cluster.conftest import Connect, StartNode
from tests.support.chatter import Chatter
from tests.support.cluster import until
from tests.support.party import Party


@pytest.mark.parametrize("victim", [0, 1])
async def test_kill_9_of_either_node(party: Party, victim: int) -> None:
    nodes = party.nodes
    await party.talk(nodes[victim].kill)
    await party.check(nodes[1 - victim])
    for chatter in party.chatters:
        assert len(chatter.sessions) == 1, "a session that came back in time was lost"


async def test_a_paused_owner_is_replaced_and_cannot_be_heard(party: Party) -> None:
    nodes = party.nodes

    async def pause() -> None:
        nodes[0].signal(signal.SIGSTOP)
        await until(lambda: "node.lost" in nodes[1].log, "the other node sees that it is gone")
        await until(lambda: "partitions.claimed" in nodes[1].log.rpartition("node.lost")[2],
                    "the other node takes over")  # fmt: skip
        nodes[0].signal(signal.SIGCONT)

    await party.talk(pause)
    await party.check(nodes[1])
    assert party.stayed, "clients of the paused node go on over the sockets they have"


async def test_drain_moves_rooms_and_asks_clients_to_leave(party: Party, connect: Connect) -> None:
    nodes = party.nodes
    guest = await connect(nodes[0], room="lobby", user="guest")
    await guest.next("joined")
    codes: list[int] = []

    async def drain() -> None:
        codes.append(await nodes[0].stop())

    await party.talk(drain)
    assert codes == [0]
    bye = await guest.next("bye")
    assert bye["data"]["code"] == "drain"
    assert bye["data"]["resume"]
    assert await guest.until_closed() == 1012
    await party.check(nodes[1])


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
