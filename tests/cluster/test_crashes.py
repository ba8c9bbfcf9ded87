"""Nodes die in every way they can, and those who are left carry on."""

import asyncio
import signal
from collections import Counter
from pathlib import Path

from tests.cluster.conftest import Connect, StartNode
from tests.support.cluster import NodeProcess, until
from tests.support.party import Party

APP = """
from roomful import ChatRoom

class Hall(ChatRoom):
    def on_leave(self, member, reason):
        self.state["gone"] = self.state.get("gone", 0) + 1
        self.broadcast("hall.gone", {"session": member.session, "reason": reason})
"""
BOUND_S = 3.0


async def _claimed(node: NodeProcess, lost: int) -> None:
    """`node` has seen so many others go, and owns everything."""
    await until(lambda: node.log.count("node.lost") >= lost, "they are taken for dead")
    await until(node.ready, "everything has an owner")


async def test_two_of_three_nodes_die_at_once(start_node: StartNode) -> None:
    nodes = [await start_node() for _ in range(3)]
    party = Party(nodes)
    await party.gather()

    async def kill() -> None:
        for node in nodes[:2]:
            node.signal(signal.SIGKILL)
        began = asyncio.get_running_loop().time()
        await _claimed(nodes[2], lost=2)
        assert asyncio.get_running_loop().time() - began < BOUND_S

    await party.talk(kill)
    await party.check(nodes[2])
    assert all(len(chatter.sessions) == 1 for chatter in party.chatters)
    await party.leave()


async def test_a_node_that_was_frozen_dies(party: Party) -> None:
    frozen, other = party.nodes

    async def kill() -> None:
        frozen.signal(signal.SIGSTOP)
        await until(lambda: "node.lost" in other.log, "it is taken for dead")
        await frozen.kill()

    await party.talk(kill)
    await party.check(other)


async def test_a_node_comes_back_under_its_name(start_node: StartNode) -> None:
    nodes = [await start_node("--node-id", name) for name in ("one", "two")]
    party = Party(nodes)
    await party.gather()

    async def restart() -> None:
        await nodes[0].kill()
        await nodes[0].start()

    await party.talk(restart)
    await party.check(nodes[1])
    assert all(len(chatter.sessions) == 1 for chatter in party.chatters)
    await party.leave()


async def test_who_wakes_to_find_another_under_its_name_ends(
    start_node: StartNode, connect: Connect
) -> None:
    frozen = await start_node("--node-id", "one")
    other = await start_node()
    ann = await connect(frozen, room="lobby", user="ann")
    await ann.next("joined")
    frozen.signal(signal.SIGSTOP)
    await until(lambda: "node.lost" in other.log, "it is taken for dead")
    heir = await start_node("--node-id", "one")
    frozen.signal(signal.SIGCONT)
    assert await frozen.ended(within_s=20) == 1
    assert "node.replaced" in frozen.log
    assert await ann.until_closed() == 1012
    bob = await connect(heir, room="lobby", user="bob")
    await bob.next("joined")
    assert (await bob.say("lobby", "hello"))["type"] == "ack"
    assert "node.replaced" not in heir.log


async def test_members_who_do_not_return_leave_once_each(
    start_node: StartNode, connect: Connect, tmp_path: Path
) -> None:
    (tmp_path / "hall.py").write_text(APP)
    dies, stays = [await start_node("--app", "hall:Hall") for _ in range(2)]
    ann = await connect(stays, room="hall", user="ann")
    await ann.next("joined")
    gone = [await connect(dies, room="hall", user=f"gone-{i}") for i in range(20)]
    for wire in gone:
        await wire.next("joined")
    await dies.kill()
    sessions = {wire.hello["session"] for wire in gone}

    def left() -> list[str]:
        return [e["data"]["session"] for e in ann.events("hall") if e["type"] == "hall.gone"]

    await until(lambda: set(left()) == sessions, "all of them leave", within_s=15)
    ack = await ann.say("hall", "alone")
    await ann.where(type="chat.message", seq=ack["seq"])
    assert Counter(left()) == dict.fromkeys(sessions, 1)
    reasons = {e["data"]["reason"] for e in ann.events("hall") if e["type"] == "hall.gone"}
    assert reasons == {"node_lost"}
    listed = await ann.ask({"type": "members", "room": "hall"})
    assert [member["user"] for member in listed["data"]["members"]] == ["ann"]
