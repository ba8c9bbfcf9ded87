"""The client over real sockets: it comes back, resumes, loses nothing and doubles nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.cluster import until
from tests.support.scripted_node import Frame, ScriptedNode

from roomful_client import Client, Event, Message, Room, RoomfulError


def prompt(node: ScriptedNode, capacity: int = 1024) -> Client:
    """A client that comes back without a pause."""
    return Client(node.url, name="Ann", chance=lambda: 0.0, capacity=capacity)


@pytest.fixture
async def node() -> AsyncIterator[ScriptedNode]:
    async with ScriptedNode() as started:
        yield started


async def read(room: Room, n: int) -> list[object]:
    """The data of the next `n` events."""
    found: list[object] = []
    async with asyncio.timeout(10):
        async for event in room:
            found.append(event.data if isinstance(event, Message) else event)
            if len(found) == n:
                break
    return found


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel it, and see it end by that."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_conversation(node: ScriptedNode) -> None:
    async with prompt(node) as client:
        room = await client.join("lobby")
        ack = await room.send("chat.message", {"text": "hi", "raw": b"\x00"})
        assert (ack.seq, ack.duplicate, ack.delivered) == (1, False, None)
        assert await read(room, 1) == [{"text": "hi", "raw": b"\x00"}]
        assert (client.user, client.session, room.position, room.epoch) == ("ann", "s1", 1, "e1")
        assert [event.seq for event in (await room.history()).events if isinstance(event, Message)]
        assert (await room.listing()).count == room.count == 1
        assert (await client.send("chat.whisper", "psst", to={"user": "bob"})).delivered == 2
        await client.auth("ey")
        await room.leave()
        assert await read(room, 1) == []
    assert node.heard[-1]["type"] == "bye"
    assert all(len(frame["id"]) >= 16 for frame in node.heard[:-1])


async def test_it_comes_back_as_the_same_session_and_goes_on_where_it_was(
    node: ScriptedNode,
) -> None:
    async with prompt(node) as client:
        room = await client.join("lobby", since=0)
        await room.send("chat.message", 1)
        assert await read(room, 1) == [1]
        node.cut()
        node.write(2)
        node.write(3)
        await node.connected(2)
        await room.send("chat.message", 4)
        assert await read(room, 3) == [2, 3, 4]
    assert node.queries == [
        {"name": "Ann"},
        {"name": "Ann", "user": "ann", "session": "s1", "secret": "x"},
    ]
    joins = [frame for frame in node.heard if frame["type"] == "join"]
    assert [(join["since"], join.get("epoch")) for join in joins] == [(0, None), (1, "e1")]


async def test_what_was_not_answered_is_said_again_and_takes_effect_once(
    node: ScriptedNode,
) -> None:
    lost = iter([True, False])

    def before(frame: Frame) -> bool:
        # The first message takes effect, but its ack and the socket are lost.
        if frame["type"] == "chat.message" and next(lost, False):
            event = node.write(frame["data"])
            node._acks[frame["id"]] = {
                "type": "ack", "id": frame["id"], "room": "lobby", "seq": event["seq"],
            }  # fmt: skip
            node.cut()
            return True
        return False

    node.before = before
    async with prompt(node) as client:
        room = await client.join("lobby")
        ack = await room.send("chat.message", "once")
        assert (ack.seq, ack.duplicate) == (1, True)
        await room.send("chat.message", "next")
        assert await read(room, 2) == ["once", "next"]
    assert [frame["data"] for frame in node.log] == ["once", "next"]


async def test_many_messages_over_many_lost_connections(node: ScriptedNode) -> None:
    def before(frame: Frame) -> bool:
        if frame["type"] == "chat.message" and len(node.heard) % 23 == 0:
            node.cut()
            return True
        return False

    node.before = before
    async with prompt(node) as client:
        room = await client.join("lobby")
        reading = asyncio.create_task(read(room, 200), name="reader")
        acks = await asyncio.gather(*(room.send("chat.message", n) for n in range(200)))
        events = await reading
    assert len(node.queries) > 5
    assert sorted(ack.seq or 0 for ack in acks) == list(range(1, 201))
    assert events == [frame["data"] for frame in node.log]
    assert sorted(node.log, key=lambda frame: int(frame["data"])) == node.log, "in order"


async def test_a_reader_that_is_behind_holds_the_node_back_and_misses_nothing(
    node: ScriptedNode,
) -> None:
    for n in range(500):
        node.write(n)
    async with prompt(node, capacity=8) as client:
        room = await client.join("lobby", since=0)
        found: list[Event] = []
        async with asyncio.timeout(20):
            async for event in room:
                found.append(event)
                if len(found) % 50 == 0:
                    # Its own answer is behind events that it does not read meanwhile.
                    await room.send("chat.message", -len(found))
                if len(found) == 510:
                    break
        assert len(room._place.inbox) <= 8
    assert [event.seq for event in found if isinstance(event, Message)] == list(range(1, 511))


async def test_messages_from_outside_rooms(node: ScriptedNode) -> None:
    async with prompt(node) as client:
        await node.tell({"type": "chat.whisper", "data": "psst"})
        async with asyncio.timeout(10):
            async for message in client.messages():
                assert (message.type, message.data, message.room) == ("chat.whisper", "psst", None)
                break


async def test_a_kick_ends_everything_with_its_reason(node: ScriptedNode) -> None:
    async with prompt(node) as client:
        room = await client.join("lobby")
        node.before = lambda frame: frame["type"] == "chat.message"
        sending = asyncio.create_task(room.send("chat.message", 1), name="sender")
        await node.close(4501, {"code": "kicked", "message": "Out.", "reconnect": False})
        with pytest.raises(RoomfulError, match="Out") as caught:
            await read(room, 1)
        assert caught.value.code == "kicked"
        with pytest.raises(RoomfulError, match="Out"):
            await sending
        with pytest.raises(RoomfulError, match="Out"):
            await client.join("kitchen")
    assert len(node.queries) == 1


async def test_a_refused_message_is_an_error_of_its_sender(node: ScriptedNode) -> None:
    async with prompt(node) as client:
        room = await client.join("lobby")
        node.before = lambda frame: frame["type"] == "chat.message"
        sending = asyncio.create_task(room.send("chat.message", 1), name="sender")
        await node.until(lambda: node.heard[-1]["type"] == "chat.message")
        error = {"code": "forbidden", "message": "No.", "retry": False}
        id = node.heard[-1]["id"]
        await node.tell({"type": "error", "id": id, "room": "lobby", "error": error})
        with pytest.raises(RoomfulError, match="No"):
            await sending


async def test_a_node_that_falls_silent_is_asked_for_a_sign_of_life_and_left(
    node: ScriptedNode,
) -> None:
    node.heartbeat_s = 0.05
    node.before = lambda frame: frame["type"] == "ping"
    async with prompt(node):
        await node.connected(2)
    assert node.heard[0] == {"type": "ping"}


async def test_a_node_that_gives_a_sign_of_life_is_kept(node: ScriptedNode) -> None:
    node.heartbeat_s = 0.2
    async with prompt(node):
        await node.until(lambda: len(node.heard) >= 3)
    assert node.heard[:3] == [{"type": "ping"}] * 3
    assert len(node.queries) == 1


async def test_what_is_no_frame_ends_the_connection_only(node: ScriptedNode) -> None:
    async with prompt(node) as client:
        room = await client.join("lobby")
        await node.sockets[0].send_str('{"type":')
        await node.connected(2)
        await room.send("chat.message", 1)
        assert await read(room, 1) == [1]


@pytest.mark.parametrize("status", [4500, 401])
async def test_a_client_that_is_not_let_in_is_told_so(node: ScriptedNode, status: int) -> None:
    node.refuse = status
    with pytest.raises(RoomfulError) as caught:
        async with prompt(node):
            raise AssertionError("it was let in")
    assert caught.value.code == "unauthorized"
    assert len(node.queries) == 1


async def test_nobody_there(node: ScriptedNode) -> None:
    node.refuse = 503
    with pytest.raises(RoomfulError, match="HTTP 503") as caught:
        async with Client(node.url, open_s=2, chance=lambda: 0.1):
            raise AssertionError("it was let in")
    assert caught.value.code == "unreachable"
    assert caught.value.retry


@pytest.mark.parametrize(
    ("said", "pause_s"), [("2", 2.05), ("86400", 61.5), ("Sat, 01 Jan 2028", 0.03), (None, 0.03)]
)
async def test_who_is_asked_to_stay_away_for_a_while_does(
    node: ScriptedNode, said: str | None, pause_s: float
) -> None:
    node.refuse, node.retry_after = 503, said
    with capture_logs() as logged:
        entering = asyncio.create_task(Client(node.url, chance=lambda: 0.1).__aenter__())
        await until(lambda: logged, "refused")
        await cancelled(entering)
    assert logged[0]["pause_s"] == pytest.approx(pause_s)


async def test_a_fresh_token_for_each_connection(node: ScriptedNode) -> None:
    tokens = iter(["one", "two"])

    async def token() -> str:
        return next(tokens)

    async with Client(node.url, token=token, chance=lambda: 0.0):
        node.cut()
        await node.connected(2)
    assert [query["token"] for query in node.queries] == ["one", "two"]


async def test_a_cancelled_send_is_not_said_again(node: ScriptedNode) -> None:
    node.before = lambda frame: frame["type"] == "chat.message"
    async with prompt(node) as client:
        room = await client.join("lobby")
        sending = asyncio.create_task(room.send("chat.message", 1))
        await until(lambda: node.heard[-1]["type"] == "chat.message", "heard")
        await cancelled(sending)
        node.cut()
        await node.connected(2)
        node.before = lambda _: False
        await room.send("chat.message", 2)
    assert [frame["data"] for frame in node.heard if frame["type"] == "chat.message"] == [1, 2]


async def test_two_readers_of_one_room_are_one_too_many(node: ScriptedNode) -> None:
    async with prompt(node) as client:
        room = await client.join("lobby", since=0)
        await room.send("chat.message", 1)
        async for _ in room:
            with pytest.raises(RuntimeError, match="read already"):
                await read(room, 1)
            break


async def test_no_task_outlives_the_client(node: ScriptedNode) -> None:
    async with prompt(node) as client:
        await client.join("lobby")
        assert any("roomful client" in task.get_name() for task in asyncio.all_tasks())
    assert not any("roomful client" in task.get_name() for task in asyncio.all_tasks())
    await client.close()
