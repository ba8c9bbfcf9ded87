"""Sessions: they outlive their sockets for a while, and go on wherever their client comes back."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.checks import check_contiguous
from tests.support.cluster import until
from tests.support.nodes import MemoryCluster, MemoryNode
from tests.support.wire import Wire

from roomful_nodes.bus import Message
from roomful_protocol.codecs.internode import pack_to_session
from roomful_protocol.messages import Accepted, Direct, Exit, Kick


@pytest.fixture
async def nodes() -> AsyncIterator[tuple[MemoryNode, MemoryNode]]:
    """Two nodes that keep sessions for long."""
    cluster = MemoryCluster()
    async with cluster.node(grace_s=30) as one, cluster.node(grace_s=30) as other:
        yield one, other


def resume(wire: Wire) -> dict[str, Any]:
    return {"session": wire.hello["session"], "secret": wire.hello["secret"]}


def presence(wire: Wire) -> list[tuple[list[str], list[str]]]:
    return [
        tuple([one["user"] for one in frame["data"][which]] for which in ("joined", "left"))  # type: ignore[misc]
        for frame in wire.frames
        if frame["type"] == "presence"
    ]


async def join(wire: Wire, since: int, epoch: str) -> list[int]:
    """Join again from `since`; the seqs that were missed."""
    joined = await wire.ask({"type": "join", "room": "lobby", "since": since, "epoch": epoch})
    assert joined["data"]["recovered"] is True
    if joined["data"]["seq"] > since:
        await wire.where(seq=joined["data"]["seq"])
    return [event["seq"] for event in wire.events("lobby")]


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_client_that_comes_back_keeps_its_session_and_misses_nothing(
    nodes: tuple[MemoryNode, MemoryNode], elsewhere: bool
) -> None:
    first, second = nodes[0], nodes[elsewhere]
    ann = await Wire.open(first.url, room="lobby", user="ann", name="Ann")
    bob = await Wire.open(first.url, room="lobby", user="bob")
    epoch = (await bob.next("joined"))["data"]["epoch"]
    await ann.where(seq=2)
    await ann.vanish()
    await bob.say("lobby", "where are you?")
    await bob.say("lobby", "hello?")
    again = await Wire.open(second.url, **resume(ann), user="ann", name="Ann")
    assert again.hello["session"] == ann.hello["session"]
    assert again.hello["node"] == ("n2" if elsewhere else "n1")
    assert await join(again, 2, epoch) == [3, 4]
    await again.say("lobby", "here")
    await bob.where(seq=5)
    check_contiguous(bob.events("lobby"), 2)
    assert presence(bob) == [], "nobody hears a leave or a join"
    await again.close()
    await bob.close()


async def test_who_is_parked_too_long_leaves_with_a_timeout() -> None:
    async with MemoryCluster().node(grace_s=0.05) as node:
        ann = await Wire.open(node.url, room="lobby", user="ann")
        bob = await Wire.open(node.url, room="lobby", user="bob")
        await bob.next("joined")
        await ann.vanish()
        await bob.where(type="presence", data__count=1)
        assert presence(bob) == [([], ["ann"])]
        late = await Wire.open(node.url, **resume(ann), user="ann")
        assert late.hello["session"] == ann.hello["session"], "the secret is still good"
        await late.ask({"type": "join", "room": "lobby"})
        await bob.where(type="presence", data__count=2)
        await late.close()
        await bob.close()


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_rooms_that_a_resumed_client_does_not_join_again_are_left(elsewhere: bool) -> None:
    cluster = MemoryCluster()
    async with cluster.node(grace_s=0.3) as one, cluster.node(grace_s=0.3) as other:
        ann = await Wire.open(one.url, room=["lobby", "attic"], user="ann")
        bob = await Wire.open(one.url, room=["lobby", "attic"], user="bob")
        await bob.where(type="joined", room="lobby")
        await bob.where(type="joined", room="attic")
        await ann.vanish()
        second = other if elsewhere else one
        again = await Wire.open(second.url, **resume(ann), user="ann", room="lobby")
        await again.where(type="joined", room="lobby")
        await bob.where(type="presence", room="attic", data__count=1)
        said = await again.say("lobby", "still here")
        await bob.where(type="chat.message", room="lobby", seq=said["seq"])
        assert not [f for f in bob.events("lobby") if f["type"] == "presence" and f["data"]["left"]]
        await again.close()
        await bob.close()


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_session_is_in_one_place(
    nodes: tuple[MemoryNode, MemoryNode], elsewhere: bool
) -> None:
    first, second = nodes[0], nodes[elsewhere]
    ann = await Wire.open(first.url, room="lobby", user="ann")
    await ann.next("joined")
    again = await Wire.open(second.url, **resume(ann), user="ann", room="lobby")
    await again.next("joined")
    assert await ann.until_closed() == 4502
    bye = ann.frames[-1]["data"]
    assert (bye["code"], bye["reconnect"], bye["resume"]) == ("taken_over", False, False)
    said = await again.say("lobby", "mine now")
    assert said["type"] == "ack"
    members = await again.ask({"type": "members"})
    assert members["data"]["count"] == 1
    await ann.close()
    await again.close()


async def test_what_came_before_the_end_is_told_before_it(
    nodes: tuple[MemoryNode, MemoryNode],
) -> None:
    sessions = nodes[0].gateway.sessions
    ann = await Wire.open(nodes[0].url, user="ann")
    id = ann.hello["session"]
    warning = b'{"type":"chat.warning"}'
    for message in (Direct(warning, "n2", "r1"), Kick("kicked")):
        sessions._heard_for_session(Message(f"session.{id}", pack_to_session(message)))
    await ann.until_closed()
    assert [frame["type"] for frame in ann.frames[-2:]] == ["chat.warning", "bye"]
    await ann.close()


async def test_a_session_goes_to_and_fro(nodes: tuple[MemoryNode, MemoryNode]) -> None:
    wire = await Wire.open(nodes[0].url, room="lobby", user="ann")
    session, epoch = wire.hello["session"], (await wire.next("joined"))["data"]["epoch"]
    last = 1
    for turn in range(1, 6):
        await wire.vanish()
        wire = await Wire.open(nodes[turn % 2].url, **resume(wire), user="ann")
        assert wire.hello["session"] == session
        assert await join(wire, last, epoch) == []
        await wire.send({"type": "chat.message", "room": "lobby", "id": turn, "data": {"text": ""}})
        last = (await wire.where(type="ack", id=turn))["seq"]
    assert last == 6, "one join, five messages: no other presence"
    await until(lambda: len(nodes[0].gateway.sessions) == 0, "the other node has let go")
    await wire.close()


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_wrong_secret_makes_a_new_session_and_says_no_more(
    nodes: tuple[MemoryNode, MemoryNode], elsewhere: bool
) -> None:
    first, second = nodes[0], nodes[elsewhere]
    ann = await Wire.open(first.url, room="lobby", user="ann")
    await ann.next("joined")
    forged = {"session": ann.hello["session"], "secret": "ann." + "0" * 32}
    stolen = resume(ann)
    for attempt, user in ((forged, "ann"), (stolen, "mallory")):
        mallory = await Wire.open(second.url, **attempt, user=user)
        assert mallory.hello["session"] != ann.hello["session"]
        assert [frame["type"] for frame in mallory.frames] == ["hello"]
        await mallory.close()
    assert (await ann.say("lobby", "still mine"))["type"] == "ack"
    await ann.close()


async def test_a_guest_is_the_same_guest_again(nodes: tuple[MemoryNode, MemoryNode]) -> None:
    guest = await Wire.open(nodes[0].url)
    await guest.vanish()
    again = await Wire.open(nodes[1].url, **resume(guest))
    assert again.hello["user"] == guest.hello["user"]
    assert again.hello["session"] == guest.hello["session"]
    await again.close()


async def test_what_was_under_way_takes_effect_once_under_its_id(
    nodes: tuple[MemoryNode, MemoryNode],
) -> None:
    ann = await Wire.open(nodes[0].url, room="lobby", user="ann")
    epoch = (await ann.next("joined"))["data"]["epoch"]
    say = {"type": "chat.message", "room": "lobby", "data": {"text": "once"}, "id": 7}
    await ann.send(say)
    await ann.vanish()
    again = await Wire.open(nodes[1].url, **resume(ann), user="ann")
    await again.ask({"type": "join", "room": "lobby", "since": 1, "epoch": epoch})
    await again.send(say)
    ack = await again.where(type="ack", id=7)
    await again.where(seq=ack["seq"])
    assert again.texts("lobby") == ["once"]
    await again.close()


async def test_a_departing_node_says_nothing_in_the_name_of_its_clients() -> None:
    cluster = MemoryCluster()
    async with cluster.node(grace_s=30) as stays:
        async with cluster.node(grace_s=30) as goes:
            ann = await Wire.open(goes.url, room="lobby", user="ann")
            bob = await Wire.open(stays.url, room="lobby", user="bob")
            epoch = (await bob.next("joined"))["data"]["epoch"]
            await goes.node.drain(0)
        assert await ann.until_closed() == 1012
        await ann.close()
        again = await Wire.open(stays.url, **resume(ann), user="ann")
        assert await join(again, 2, epoch) == []
        assert (await again.say("lobby", "back"))["seq"] == 3
        assert presence(bob) == []
        await again.close()
        await bob.close()


async def test_members_whose_node_was_taken_for_dead_are_members_again(
    nodes: tuple[MemoryNode, MemoryNode],
) -> None:
    ann = await Wire.open(nodes[0].url, room=["lobby", "attic"], user="ann")
    bob = await Wire.open(nodes[1].url, room="lobby", user="bob")
    joined = await ann.where(type="joined", room="lobby")
    await ann.where(type="joined", room="attic")
    await bob.next("joined")
    # Whoever owns the room does this when a node's lease has run out for long.
    membership = next(iter(nodes[0].gateway._lines)).rooms["lobby"]
    answer = await nodes[0].node._router.request("lobby", membership.sender, Exit("node_lost"))
    assert isinstance(answer, Accepted)
    await bob.where(type="presence", data__count=1)
    await nodes[0].gateway.reaffirm()
    await bob.where(type="presence", data__count=2, seq=joined["data"]["seq"] + 3)
    assert (await ann.say("lobby", "still here"))["type"] == "ack"
    check_contiguous(ann.events("lobby"), joined["data"]["seq"])
    assert [f["room"] for f in ann.frames if f["type"] == "joined"].count("lobby") == 1
    await ann.close()
    await bob.close()


async def test_who_is_no_member_any_more_is_one_again_after_trying_to_speak(
    nodes: tuple[MemoryNode, MemoryNode],
) -> None:
    ann = await Wire.open(nodes[0].url, room="lobby", user="ann")
    await ann.next("joined")
    membership = next(iter(nodes[0].gateway._lines)).rooms["lobby"]
    await nodes[0].node._router.request("lobby", membership.sender, Exit("node_lost"))
    assert (await ann.say("lobby", "hi"))["error"]["code"] == "not_joined"
    assert (await ann.say("lobby", "hi"))["type"] == "ack"
    await ann.close()


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_client_that_comes_back_may_leave_a_room_without_joining_it_again(
    nodes: tuple[MemoryNode, MemoryNode], elsewhere: bool
) -> None:
    ann = await Wire.open(nodes[0].url, room="lobby", user="ann")
    bob = await Wire.open(nodes[0].url, room="lobby", user="bob")
    await bob.next("joined")
    await ann.where(seq=2)
    await ann.vanish()
    again = await Wire.open(nodes[elsewhere].url, **resume(ann), user="ann")
    left = await again.ask({"type": "leave", "room": "lobby"})
    assert (left["type"], left["room"]) == ("left", "lobby")
    await bob.where(type="presence", data__count=1)
    assert presence(bob) == [([], ["ann"])]
    await again.close()
    await bob.close()
