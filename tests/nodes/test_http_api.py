"""The operators' API: what it answers, how it refuses, and whom it lets in."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from prometheus_client import CollectorRegistry
from yarl import URL

from roomful_nodes.health import exposition
from roomful_nodes.http_api import add_routes
from roomful_nodes.metrics import Metrics
from roomful_nodes.operations import NodeView, RoomView
from roomful_nodes.settings import NodeSettings
from roomful_protocol.blocks import Entry, Member
from roomful_protocol.errors import Code, Refused
from roomful_protocol.frames import Limits
from roomful_protocol.messages import (
    MOVED,
    Accepted,
    Answer,
    Ask,
    Denied,
    Entries,
    Listing,
    Read,
    Say,
    Who,
)
from roomful_rooms.log import Unavailable

NODE = NodeView(
    "n1", "127.0.0.1:8000", "ready", 256, 2, 3, 3, 256.3, None, "0.1.0", 1_700_000_000_000
)
LOBBY = RoomView("lobby", 7, "n1", 58, 2, 1_700_000_000_001)
CHAT = RoomView("chat-1", 9, None, 1, 0, 1_700_000_000_002)

Client = TestClient[web.Request, web.Application]
Connect = Callable[..., Awaitable[Client]]


@dataclass
class Cluster:
    """Operations that answer as told and remember what they were asked."""

    reasons: list[str] = field(default_factory=list)
    answer: Answer | Exception = MOVED
    asked: list[tuple[str, Ask, str]] = field(default_factory=list)
    drained: list[tuple[str, float | None]] = field(default_factory=list)

    def readiness(self) -> list[str]:
        return self.reasons

    async def nodes(self) -> list[NodeView]:
        return [NODE]

    async def drain(self, node: str, window_s: float | None) -> None:
        if node != NODE.id:
            raise Refused(Code.UNKNOWN_TARGET, f"No living node is named {node}.")
        self.drained.append((node, window_s))

    async def rooms(self) -> list[RoomView]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return [LOBBY, CHAT]

    async def ask(self, room: str, ask: Ask, user: str = "operator") -> Answer:
        self.asked.append((room, ask, user))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def connect(aiohttp_client: Any, cluster: Cluster) -> Connect:
    """A client of a node with these settings."""

    async def client(**settings: Any) -> Client:
        app = web.Application()
        registry = CollectorRegistry()
        Metrics(registry).connections.set(3)
        add_routes(app.router, cluster, NodeSettings(**settings), exposition(registry))
        made: Client = await aiohttp_client(app)
        return made

    return client


async def told(client: Client, path: str, **headers: str) -> tuple[int, Any]:
    async with client.get(path, headers=headers) as response:
        return response.status, await response.json()


# -- what it answers -------------------------------------------------------------------------------


async def test_nodes(connect: Connect) -> None:
    status, body = await told(await connect(), "/api/nodes")
    assert status == 200
    assert body["nodes"][0] | {"id": "n1", "partitions": 256} == body["nodes"][0]


@pytest.mark.parametrize(
    ("query", "names"),
    [("", ["lobby", "chat-1"]), ("?match=chat-*", ["chat-1"]), ("?match=LOBBY", [])],
)
async def test_rooms(connect: Connect, query: str, names: list[str]) -> None:
    _, body = await told(await connect(), f"/api/rooms{query}")
    assert [room["name"] for room in body["rooms"]] == names


async def test_members(connect: Connect, cluster: Cluster) -> None:
    ann = Member("n1-s", "ann", "Ann", "n1", "a")
    cluster.answer = Listing(58, "k3f9", 1, (ann,))
    status, body = await told(await connect(), "/api/rooms/lobby/members")
    assert (status, body["seq"], body["count"]) == (200, 58, 1)
    assert body["members"] == [
        {"session": "n1-s", "user": "ann", "name": "Ann", "node": "n1", "attach": "a"}
    ]
    assert cluster.asked == [("lobby", Who(), "operator")]


@pytest.mark.parametrize(
    ("query", "read"),
    [
        ("", Read(limit=50)),
        ("?after=7&limit=3", Read(after=7, limit=3)),
        ("?before=7", Read(before=7, limit=50)),
        ("?limit=0", Read(limit=1)),
        ("?limit=99999", Read(limit=500)),
    ],
)
async def test_events(connect: Connect, cluster: Cluster, query: str, read: Read) -> None:
    entries = (Entry(1, '{"type":"a.b","seq":1,"data":"ü"}'.encode()), Entry(2, b'{"seq":2}'))
    cluster.answer = Entries("k3f9", 58, 1, entries, more=True)
    status, body = await told(await connect(), f"/api/rooms/lobby/events{query}")
    assert status == 200
    assert [event["seq"] for event in body.pop("events")] == [1, 2]
    assert body == {"room": "lobby", "epoch": "k3f9", "seq": 58, "oldest": 1, "more": True}
    assert cluster.asked == [("lobby", read, "operator")]


async def test_no_events(connect: Connect, cluster: Cluster) -> None:
    cluster.answer = Entries("k3f9", 0, 1)
    _, body = await told(await connect(), "/api/rooms/lobby/events")
    assert body["events"] == []


@pytest.mark.parametrize(
    ("path", "room"),
    [
        ("a%2Fb%20c", "a/b c"),
        ("%C3%BC.*%3E", "ü.*>"),
        ("100%25", "100%"),
        ("a%2Bb+c", "a+b+c"),
        ("%F0%9F%8E%89", "🎉"),
    ],
)
async def test_any_name_of_a_room(connect: Connect, cluster: Cluster, path: str, room: str) -> None:
    cluster.answer = Listing(1, "e", 0, ())
    client = await connect()
    url = URL(f"/api/rooms/{path}/members", encoded=True)
    async with client.get(url) as response:
        assert (await response.json())["room"] == room
    assert cluster.asked[0][0] == room


async def test_a_message(connect: Connect, cluster: Cluster) -> None:
    cluster.answer = Accepted(seq=59, data={"counted": True}, duplicate=True)
    client = await connect()
    message = {"type": "chat.message", "data": {"text": "hi"}, "id": "x1", "user": "bot"}
    async with client.post("/api/rooms/lobby/messages", json=message) as response:
        assert response.status == 200
        assert await response.json() == {
            "type": "ack",
            "id": "x1",
            "room": "lobby",
            "seq": 59,
            "duplicate": True,
            "data": {"counted": True},
        }
    say = Say("chat.message", {"text": "hi"}, "x1", operator=True)
    assert cluster.asked == [("lobby", say, "bot")]


async def test_a_targeted_message(connect: Connect, cluster: Cluster) -> None:
    cluster.answer = Accepted(seq=60, delivered=2)
    client = await connect()
    message = {"type": "chat.message", "data": 1, "to": {"user": "ann"}}
    async with client.post("/api/rooms/lobby/messages", json=message) as response:
        assert (await response.json())["data"] == {"delivered": 2}


@pytest.mark.parametrize(
    ("body", "window_s"),
    [(b"", None), (b"{}", None), (b'{"window_s":null}', None), (b'{"window_s":2.5}', 2.5)],
)
async def test_a_drain(
    connect: Connect, cluster: Cluster, body: bytes, window_s: float | None
) -> None:
    client = await connect()
    json = {"Content-Type": "application/json"}
    async with client.post("/api/nodes/n1/drain", data=body, headers=json) as response:
        assert response.status == 202
        assert await response.json() == {"node": "n1", "window_s": window_s}
    assert cluster.drained == [("n1", window_s)]


# -- how it refuses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "bad_frame"),
        (b"[]", 400, "bad_frame"),
        (b"\xff", 400, "bad_frame"),
        (b'{"type":"chat"}', 501, "unsupported"),
        (b'{"type":"join","room":"x"}', 400, "bad_type"),
        (b'{"type":"a.b","user":7}', 400, "bad_data"),
        (b'{"type":"a.b","user":""}', 400, "bad_data"),
        (b'{"type":"a.b","data":"' + b"x" * 1000 + b'"}', 413, "too_big"),
    ],
)
async def test_a_bad_message(
    connect: Connect, cluster: Cluster, body: bytes, status: int, code: str
) -> None:
    client = await connect(limits=Limits(message_bytes=500))
    json = {"Content-Type": "application/json"}
    async with client.post("/api/rooms/lobby/messages", data=body, headers=json) as response:
        error = (await response.json())["error"]
        assert (response.status, error["code"], error["retry"]) == (status, code, False)
    assert cluster.asked == []


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("n1", b"{", 400, "bad_frame"),
        ("n1", b"[]", 400, "bad_frame"),
        ("n1", b'{"window_s":-1}', 400, "bad_data"),
        ("n1", b'{"window_s":86401}', 400, "bad_data"),
        ("n1", b'{"window_s":true}', 400, "bad_data"),
        ("n1", b'{"window_s":"30"}', 400, "bad_data"),
        ("n2", b"{}", 404, "unknown_target"),
    ],
)
async def test_a_bad_drain(
    connect: Connect, cluster: Cluster, path: str, body: bytes, status: int, code: str
) -> None:
    client = await connect()
    json = {"Content-Type": "application/json"}
    async with client.post(f"/api/nodes/{path}/drain", data=body, headers=json) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (status, code)
    assert cluster.drained == []


@pytest.mark.parametrize("query", ["?after=x", "?limit=-1", "?before=1&after=2", "?after=²"])
async def test_a_bad_query(connect: Connect, cluster: Cluster, query: str) -> None:
    status, body = await told(await connect(), f"/api/rooms/lobby/events{query}")
    assert (status, body["error"]["code"]) == (400, "bad_data")
    assert cluster.asked == []


async def test_an_impossible_room(connect: Connect) -> None:
    status, body = await told(await connect(), f"/api/rooms/{'x' * 129}/members")
    assert (status, body["error"]["code"]) == (400, "bad_data")


@pytest.mark.parametrize("path", ["/api/rooms", "/api/rooms/lobby/members"])
async def test_without_a_broker(connect: Connect, cluster: Cluster, path: str) -> None:
    cluster.answer = Unavailable()
    status, body = await told(await connect(), path)
    assert (status, body["error"]["code"], body["error"]["retry"]) == (503, "unavailable", True)


@pytest.mark.parametrize("path", ["members", "events"])
async def test_a_room_that_is_moving(connect: Connect, path: str) -> None:
    status, body = await told(await connect(), f"/api/rooms/lobby/{path}")
    assert (status, body["error"]["code"]) == (503, "unavailable")


@pytest.mark.parametrize("code", Code)
async def test_every_refusal_has_a_status(connect: Connect, cluster: Cluster, code: Code) -> None:
    cluster.answer = Denied(code.slug, "No.", 1200)
    client = await connect()
    async with client.get("/api/rooms/lobby/members") as response:
        assert 400 <= response.status < 600
        assert response.headers["Retry-After"] == "2"
        assert (await response.json())["error"] == {
            "code": code.slug,
            "message": "No.",
            "retry": code.retry,
            "retry_after_ms": 1200,
        }


# -- whom it lets in -------------------------------------------------------------------------------

GUARDED = ["/metrics", "/api/nodes", "/api/rooms", "/api/rooms/x/members", "/api/rooms/x/events"]
HOSTS: list[tuple[Mapping[str, str], bool]] = [
    ({"Host": "127.0.0.1:8000"}, True),
    ({"Host": "localhost:8000"}, True),
    ({"Host": "localhost"}, True),
    ({"Host": "[::1]:8000"}, True),
    ({"Host": "[::1]"}, True),
    ({"Host": "evil.example.org"}, False),
    ({"Host": "evil.example.org:8000"}, False),
    ({"Host": "127.0.0.1.evil.example.org"}, False),
    ({"Host": "localhost:8000", "X-Forwarded-For": "10.0.0.9"}, False),
    ({"Host": "localhost:8000", "Forwarded": "for=10.0.0.9"}, False),
]


@pytest.mark.parametrize("path", GUARDED)
@pytest.mark.parametrize(("headers", "open"), HOSTS)
async def test_without_a_token_on_this_machine_only(
    connect: Connect, path: str, headers: Mapping[str, str], open: bool
) -> None:
    client = await connect()
    async with client.get(path, headers=headers) as response:
        assert (response.status == 403) is not open


@pytest.mark.parametrize("path", GUARDED)
async def test_without_a_token_not_beyond_loopback(connect: Connect, path: str) -> None:
    status, body = await told(await connect(host="::"), path)
    assert (status, body["error"]["code"]) == (403, "forbidden")
    assert "--admin-token" in body["error"]["message"]


@pytest.mark.parametrize("path", GUARDED)
@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic opensesame", "Bearer ü"])
async def test_with_a_token_nobody_else(connect: Connect, path: str, header: str) -> None:
    client = await connect(admin_token="opensesame")
    async with client.get(path, headers={"Authorization": header}) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_with_the_token_from_anywhere(connect: Connect) -> None:
    client = await connect(admin_token="opensesame", host="::")
    status, _ = await told(
        client, "/api/nodes", Authorization="Bearer opensesame", Host="chat.example.org"
    )
    assert status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
@pytest.mark.parametrize("path", ["/api/rooms/lobby/messages", "/api/nodes/n1/drain"])
async def test_a_page_elsewhere_cannot_post(
    connect: Connect, cluster: Cluster, path: str, kind: str
) -> None:
    client = await connect()
    async with client.post(
        path, data=b'{"type":"a.b"}', headers={"Content-Type": kind}
    ) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (400, "bad_frame")
    assert (cluster.asked, cluster.drained) == ([], [])
