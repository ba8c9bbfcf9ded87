"""The door: who is let in, as whom, and how they are asked to leave."""

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import jwt
import msgpack
import pytest
from tests.support.cluster import until
from tests.support.nodes import CLOCK, MemoryCluster, MemoryNode
from tests.support.wire import Wire

from roomful_nodes.settings import AuthSettings
from roomful_protocol.errors import KICKED
from roomful_protocol.frames import Limits

SECRET = "s" * 32
AUTH = AuthSettings(secret=SECRET, algorithms=("HS256",))


@pytest.fixture
async def node() -> AsyncIterator[MemoryNode]:
    async with MemoryCluster().node() as made:
        yield made


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def token(**claims: Any) -> str:
    return jwt.encode({"sub": "ann", "name": "Ann"} | claims, SECRET)


async def told(http: aiohttp.ClientSession, url: str) -> tuple[list[Any], int | None]:
    """Every frame until the node closes, and the code."""
    async with http.ws_connect(url) as socket:
        frames = [message.json() async for message in socket]
        return frames, socket.close_code


# -- coming in -------------------------------------------------------------------------------------


async def test_hello_says_who_one_is_and_every_limit(node: MemoryNode) -> None:
    wire = await Wire.open(node.url, user="ann", name="Ann")
    assert wire.hello.pop("time") > 1_700_000_000_000
    assert wire.hello.pop("secret")
    assert wire.hello == {
        "protocol": 1,
        "node": "n1",
        "session": wire.hello["session"],
        "user": "ann",
        "name": "Ann",
        "heartbeat_s": 25,
        "limits": {"message_bytes": 65536, "messages_per_s": 50, "burst": 100, "rooms": 128},
        "durability": {"copies": 1, "power_loss_s": None},
        "expires_s": None,
    }
    assert wire.hello["session"].startswith("n1-")
    await wire.close()


async def test_rooms_of_the_query_are_joined_at_once(node: MemoryNode) -> None:
    wire = await Wire.open(node.url, room=["lobby", "Ω.* >"], user="ann")
    for room in ("lobby", "Ω.* >"):
        joined = await wire.where(type="joined", room=room)
        assert [one["user"] for one in joined["data"]["members"]] == ["ann"]
    await wire.close()


async def test_a_place_in_the_query_is_honoured(node: MemoryNode) -> None:
    ann = await Wire.open(node.url, room="lobby", user="ann")
    await ann.say("lobby", "one")
    epoch = (await ann.next("joined"))["data"]["epoch"]
    bob = await Wire.open(node.url, room="lobby", user="bob", since=1, epoch=epoch)
    await bob.where(type="chat.message")
    joined = bob.frames[1]
    assert (joined["type"], joined["data"]["recovered"]) == ("joined", True)
    assert [event["seq"] for event in bob.events("lobby")] == [2, 3]
    await ann.close()
    await bob.close()


async def test_a_wrong_query_is_told_on_the_open_socket(node: MemoryNode) -> None:
    wire = await Wire.open(node.url, room="lobby", since="yesterday")
    error = await wire.next("error")
    assert error["error"]["code"] == "bad_data"
    assert (await wire.ask({"type": "join", "room": "lobby"}))["type"] == "joined"
    await wire.close()


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        ("https://chat.example", 101),
        ("own", 101),
        (None, 101),
    ],
)
async def test_pages_of_other_origins_are_kept_out(
    http: aiohttp.ClientSession, origin: str | None, status: int
) -> None:
    async with MemoryCluster().node(allowed_origins=("https://chat.example",)) as node:
        headers = {} if origin is None else {"Origin": node.url if origin == "own" else origin}
        if status == 101:
            async with http.ws_connect(f"{node.url}/ws", headers=headers) as socket:
                assert (await socket.receive_json())["type"] == "hello"
        else:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await http.ws_connect(f"{node.url}/ws", headers=headers)
            assert caught.value.status == status


async def test_the_first_known_sub_protocol_is_spoken(
    node: MemoryNode, http: aiohttp.ClientSession
) -> None:
    offered = ("chat.v9", "roomful.v1.msgpack", "roomful.v1.json")
    async with http.ws_connect(f"{node.url}/ws?room=lobby", protocols=offered) as socket:
        assert socket.protocol == "roomful.v1.msgpack"
        hello = msgpack.unpackb(await socket.receive_bytes())
        assert hello["type"] == "hello"
        assert msgpack.unpackb(await socket.receive_bytes())["type"] == "joined"
        await socket.send_bytes(b"\x82\xa4type\xa4ping\xa2id\x01")
        assert msgpack.unpackb(await socket.receive_bytes())["id"] == 1
        await socket.send_str('{"type":"ping"}')
        error = msgpack.unpackb(await socket.receive_bytes())
        assert error["error"]["code"] == "bad_frame"


async def test_only_unknown_sub_protocols_are_refused(
    node: MemoryNode, http: aiohttp.ClientSession
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await http.ws_connect(f"{node.url}/ws", protocols=("chat.v9",))
    assert caught.value.status == 400


async def test_too_many_connections_are_sent_elsewhere(
    node: MemoryNode, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roomful_nodes.gateway.CONNECTIONS", 0)
    [bye], code = await told(http, f"{node.url}/ws")
    assert (bye["data"]["code"], code) == ("overloaded", 1013)


# -- tokens ----------------------------------------------------------------------------------------


async def test_without_a_token_nobody_comes_in_where_one_is_needed(
    http: aiohttp.ClientSession,
) -> None:
    async with MemoryCluster().node(anonymous=False, auth=AUTH) as node:
        for query in ("", "?token=nonsense", "?user=ann", "?since=x&token=nonsense"):
            frames, code = await told(http, f"{node.url}/ws{query}")
            assert [frame["type"] for frame in frames] == ["error", "bye"]
            assert frames[0]["error"]["code"] == "unauthorized"
            assert frames[1]["data"]["reconnect"] is False
            assert code == 4500
        assert len(node.gateway.sessions) == 0


async def test_a_token_whose_header_is_no_text_is_refused_as_others_are(
    http: aiohttp.ClientSession,
) -> None:
    header = urlsafe_b64encode(b'{"alg":"\\udcff"}').decode()
    async with MemoryCluster().node(auth=AUTH) as node:
        [error, bye], _ = await told(http, f"{node.url}/ws?token={header}.e30.")
        assert error["error"]["code"] == bye["data"]["code"] == "unauthorized"


async def test_a_token_names_the_user_and_the_rooms() -> None:
    async with MemoryCluster().node(anonymous=False, auth=AUTH) as node:
        wire = await Wire.open(
            node.url, token=token(rooms=["chat-*"]), user="mallory", room=["chat-1", "admin"]
        )
        assert (wire.hello["user"], wire.hello["name"]) == ("ann", "Ann")
        assert (await wire.where(room="chat-1"))["type"] == "joined"
        refused = await wire.where(room="admin")
        assert refused["error"]["code"] == "forbidden"
        await wire.close()


async def test_an_expired_token_ends_the_connection_but_not_the_session() -> None:
    async with MemoryCluster().node(anonymous=False, auth=AUTH, grace_s=5) as node:
        expires = CLOCK.wall_ms() / 1000 + 0.2
        wire = await Wire.open(node.url, token=token(exp=expires), room="lobby")
        assert 0 < wire.hello["expires_s"] <= 0.2
        assert await wire.until_closed() == 4002
        assert wire.frames[-1]["data"]["resume"] is True
        assert node.gateway.sessions.get(wire.hello["session"]) is not None
        await wire.close()


async def test_a_fresh_token_keeps_the_connection() -> None:
    async with MemoryCluster().node(anonymous=False, auth=AUTH) as node:
        first_ends_ms = CLOCK.wall_ms() + 300
        wire = await Wire.open(node.url, token=token(exp=first_ends_ms / 1000))
        fresh = token(exp=CLOCK.wall_ms() / 1000 + 600)
        assert (await wire.ask({"type": "auth", "token": fresh}))["type"] == "ack"
        for wrong in (token(sub="bob"), "nonsense", token(exp=1)):
            refused = await wire.ask({"type": "auth", "token": wrong})
            assert refused["error"]["code"] == "unauthorized"
        await until(lambda: CLOCK.wall_ms() > first_ends_ms + 20, "the first token's end")
        assert (await wire.ask({"type": "ping"}))["type"] == "pong"
        await wire.close()


# -- what clients send -----------------------------------------------------------------------------


async def test_what_is_wrong_is_answered_and_closes_nothing(node: MemoryNode) -> None:
    wire = await Wire.open(node.url, room="lobby", user="ann")
    await wire.next("joined")
    for raw in ("", "{", "[]", "\x00", '{"type":"joined"}', b"\xff", b"", '{"type":"x.y","to":7}'):
        await wire.send_raw(raw)
    assert (await wire.ask({"type": "ping"}))["type"] == "pong"
    errors = [frame for frame in wire.frames if frame["type"] == "error"]
    assert len(errors) == 8
    await wire.close()


async def test_a_message_without_a_room_goes_to_the_only_one(node: MemoryNode) -> None:
    wire = await Wire.open(node.url, user="ann")
    say = {"type": "chat.message", "data": {"text": "hi"}}
    assert (await wire.ask(say))["error"]["code"] == "not_joined"
    await wire.ask({"type": "join", "room": "lobby"})
    assert (await wire.ask(say))["room"] == "lobby"
    await wire.ask({"type": "join", "room": "attic"})
    assert (await wire.ask(say))["error"]["code"] == "bad_data"
    assert (await wire.ask({"type": "leave", "room": "attic"}))["type"] == "left"
    assert (await wire.ask(say))["type"] == "ack"
    assert (await wire.ask(say | {"room": "attic"}))["error"]["code"] == "not_joined"
    await wire.close()


async def test_requests_may_be_sent_before_the_join_is_answered(node: MemoryNode) -> None:
    wire = await Wire.open(node.url, user="ann")
    await wire.send({"type": "join", "room": "lobby"})
    for number in range(20):
        await wire.send(
            {"type": "chat.message", "id": number, "room": "lobby", "data": {"text": "x"}}
        )
    await wire.where(type="ack", id=19)
    acks = [frame["id"] for frame in wire.frames if frame["type"] == "ack"]
    assert acks == list(range(20))
    await wire.close()


async def test_history_and_members_are_answered(node: MemoryNode) -> None:
    ann = await Wire.open(node.url, room="lobby", user="ann")
    bob = await Wire.open(node.url, room="lobby", user="bob")
    await bob.next("joined")
    await ann.say("lobby", "psst", to={"user": "ann"})
    await ann.say("lobby", "hi")
    history = (await bob.ask({"type": "history", "room": "lobby", "limit": 2}))["data"]
    assert [event["seq"] for event in history["events"]] == [2, 4]
    assert history["more"] is True
    members = (await bob.ask({"type": "members"}))["data"]
    assert [one["user"] for one in members["members"]] == ["ann", "bob"]
    assert (members["count"], members["seq"]) == (2, 4)
    await ann.close()
    await bob.close()


async def test_a_client_may_be_in_so_many_rooms_only() -> None:
    async with MemoryCluster().node(limits=Limits(rooms=2)) as node:
        wire = await Wire.open(node.url, room=["a", "b", "c"])
        assert (await wire.where(room="c"))["error"]["code"] == "forbidden"
        await wire.ask({"type": "leave", "room": "a"})
        assert (await wire.ask({"type": "join", "room": "c"}))["type"] == "joined"
        await wire.close()


async def test_too_many_messages_are_refused_with_their_ids() -> None:
    async with MemoryCluster().node(limits=Limits(messages_per_s=5, burst=3)) as node:
        wire = await Wire.open(node.url)
        for number in range(5):
            await wire.send({"type": "ping", "id": number})
        await wire.send({"type": "bye", "id": 5})
        error = await wire.where(id=4)
        assert error["error"]["code"] == "rate_limited"
        assert 0 < error["error"]["retry_after_ms"] <= 200
        assert (await wire.where(id=5))["error"]["code"] == "rate_limited"
        assert [f["type"] for f in wire.frames[1:]] == ["pong"] * 3 + ["error"] * 3
        await wire.close()


async def test_a_flood_is_cut_off() -> None:
    async with MemoryCluster().node(limits=Limits(messages_per_s=5, burst=3)) as node:
        wire = await Wire.open(node.url)
        for _ in range(50):
            await wire.send({"type": "ping"})
        assert await wire.until_closed() == 1013
        assert wire.frames[-1]["data"]["code"] == "overloaded"
        await wire.close()


# -- leaving ---------------------------------------------------------------------------------------


async def test_bye_leaves_every_room_at_once(node: MemoryNode) -> None:
    ann = await Wire.open(node.url, room="lobby", user="ann")
    bob = await Wire.open(node.url, room="lobby", user="bob")
    await bob.next("joined")
    await ann.send({"type": "bye"})
    assert await ann.until_closed() == 1000
    left = await bob.where(type="presence", data__count=1)
    assert [one["user"] for one in left["data"]["left"]] == ["ann"]
    assert node.gateway.sessions.get(ann.hello["session"]) is None
    await ann.close()
    await bob.close()


async def test_an_operator_can_put_a_session_out(node: MemoryNode) -> None:
    ann = await Wire.open(node.url, room="lobby", user="ann")
    bob = await Wire.open(node.url, room="lobby", user="bob")
    await bob.next("joined")
    assert node.gateway.close_session(ann.hello["session"], KICKED)
    assert not node.gateway.close_session("n1-nobody")
    assert await ann.until_closed() == 4501
    await bob.where(type="presence", data__count=1)
    await ann.close()
    await bob.close()


async def test_draining_asks_all_to_come_back_elsewhere(http: aiohttp.ClientSession) -> None:
    async with MemoryCluster().node(grace_s=5) as node:
        wires = [await Wire.open(node.url, room="lobby") for _ in range(5)]
        await node.gateway.departure.run(0.5)
        assert len(node.gateway) == 0
        for wire in wires:
            assert await wire.until_closed() == 1012
            bye = wire.frames[-1]["data"]
            assert (bye["code"], bye["delay_ms"], bye["resume"]) == ("drain", [0, 200], True)
            assert node.gateway.sessions.get(wire.hello["session"]) is not None
            await wire.close()
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect(f"{node.url}/ws")
        assert caught.value.status == 503


async def test_a_closed_socket_leaves_no_line_behind(node: MemoryNode) -> None:
    wires = [await Wire.open(node.url, room="lobby") for _ in range(3)]
    await until(lambda: len(node.gateway) == 3, "three lines")
    await wires[0].vanish()
    await wires[1].close()
    await wires[2].send({"type": "bye"})
    await until(lambda: len(node.gateway) == 0, "no lines")
    await until(lambda: len(node.gateway.sessions) == 0, "no sessions after the grace")
    await wires[2].close()
