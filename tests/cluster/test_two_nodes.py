"""Two nodes on one broker are one system."""

import asyncio

from tests.cluster.conftest import Connect, StartNode
from tests.support.checks import check_contiguous, check_same_order
from tests.support.cluster import until


async def test_chat_across_nodes(start_node: StartNode, connect: Connect) -> None:
    one, two = await asyncio.gather(start_node(), start_node())
    ann = await connect(one, room="lobby", user="ann", name="Ann")
    await ann.next("joined")
    bob = await connect(two, room="lobby", user="bob", name="Bob")
    joined = await bob.next("joined")
    assert {member["user"] for member in joined["data"]["members"]} == {"ann", "bob"}

    for number in range(20):
        speaker = (ann, bob)[number % 2]
        ack = await speaker.say("lobby", f"message {number}")
        assert ack["type"] == "ack"
        await ann.where(type="chat.message", seq=ack["seq"])
        await bob.where(type="chat.message", seq=ack["seq"])

    expected = [f"message {number}" for number in range(20)]
    assert ann.texts("lobby") == bob.texts("lobby") == expected
    check_contiguous(ann.events("lobby"), (await ann.next("joined"))["data"]["seq"])
    check_contiguous(bob.events("lobby"), joined["data"]["seq"])
    check_same_order("lobby", ann, bob)


async def test_rooms_of_any_name(start_node: StartNode, connect: Connect) -> None:
    one, two = await asyncio.gather(start_node(), start_node())
    names = ["a.b", "with space", "*", ">", "房间", "🙂" * 128, "_x", "tab\tand\nline"]
    ann = await connect(one, room=names)
    bob = await connect(two, room=names)
    for name in names:
        await bob.where(type="joined", room=name)
        await ann.where(type="joined", room=name)
        ack = await ann.say(name, name)
        heard = await bob.where(type="chat.message", room=name, seq=ack["seq"])
        assert heard["data"]["text"] == name


async def test_targeted_messages_across_nodes(start_node: StartNode, connect: Connect) -> None:
    one, two = await asyncio.gather(start_node(), start_node())
    ann = await connect(one, user="ann", room="lobby")
    bob = await connect(two, user="bob", room="lobby")
    bob_too = await connect(one, user="bob")
    eve = await connect(two, user="eve", room="lobby")
    for wire in (ann, bob, eve):
        await wire.next("joined")

    outside = {"type": "note.hi", "to": {"user": "bob"}, "data": 1}
    assert (await ann.ask(outside))["data"] == {"delivered": 2}
    await bob.next("note.hi")
    await bob_too.next("note.hi")

    session = bob.hello["session"]
    ack = await ann.ask({"type": "note.you", "to": {"session": session}, "data": 2})
    assert ack["data"] == {"delivered": 1}
    await bob.next("note.you")

    nobody = await ann.ask({"type": "note.hi", "to": {"user": "zoe"}})
    assert nobody["error"]["code"] == "unknown_target"

    whisper = await ann.say("lobby", "psst", to={"user": "bob"})
    assert whisper["data"] == {"delivered": 1}
    loud = await ann.say("lobby", "hello all")
    await eve.where(type="chat.message", seq=loud["seq"])
    await bob.where(type="chat.message", seq=loud["seq"])
    assert eve.texts("lobby") == ["hello all"]
    assert bob.texts("lobby") == ["psst", "hello all"]
    for wire in (ann, bob, eve):
        check_contiguous(wire.events("lobby"), (await wire.next("joined"))["data"]["seq"])


async def test_ephemeral_messages_have_no_seq(start_node: StartNode, connect: Connect) -> None:
    one, two = await asyncio.gather(start_node(), start_node())
    ann, bob = await connect(one, room="lobby"), await connect(two, room="lobby")
    await ann.next("joined")
    await bob.next("joined")
    await ann.send({"type": "chat.typing", "data": {"typing": True}, "ephemeral": True})
    assert "seq" not in await bob.next("chat.typing")


async def test_a_new_node_takes_its_share_and_rooms_go_on(
    start_node: StartNode, connect: Connect
) -> None:
    one = await start_node()
    rooms = [f"room-{number}" for number in range(20)]
    ann = await connect(one, room=rooms)
    for room in rooms:
        await ann.where(type="joined", room=room)
        await ann.say(room, "before")
    two = await start_node()

    def handed_over() -> bool:
        return "partitions.handed_over" in one.log

    await until(handed_over, "the first node hands partitions to the second")
    bob = await connect(two, room=rooms)
    for room in rooms:
        await bob.where(type="joined", room=room)
        ack = await ann.say(room, "after")
        for wire in (ann, bob):
            await wire.where(type="chat.message", room=room, seq=ack["seq"])
        assert ann.texts(room) == ["before", "after"]
        start = (await ann.where(type="joined", room=room))["data"]["seq"]
        check_contiguous(ann.events(room), start)
