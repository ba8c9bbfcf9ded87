"""What one client's frames become, without a network: fuzz, patience, bounds."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.rooms import World, turns, until, world
from tests.support.sockets import FakeTransport
from tests.support.virtual_time import virtual

from roomful_nodes import outbox as outbox_module
from roomful_nodes.auth import Authenticator, Identity, Secrets
from roomful_nodes.conversation import PING, Conversation
from roomful_nodes.history import VISIBLE_BYTES
from roomful_nodes.outbox import HIGH, LOW, PATIENCE_S, Outbox
from roomful_nodes.rate import ASK_BYTES, BYTES
from roomful_nodes.services import Services
from roomful_nodes.session import Session
from roomful_nodes.sessions import Sessions
from roomful_nodes.settings import AuthSettings
from roomful_nodes.targets import Targets
from roomful_protocol.blocks import Member
from roomful_protocol.codecs import JSON
from roomful_protocol.errors import Code
from roomful_protocol.frames import Limits
from roomful_protocol.messages import Denied, Say
from roomful_rooms.clock import Clock

UNLIMITED = Limits(messages_per_s=1e9, burst=10**9)
DAY_MS = 86_400_000


class Time:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.clock = Clock(lambda: self.now_s, lambda: int(self.now_s * 1000))


class Talk:
    """One conversation over a fake socket, in a node without others."""

    def __init__(self, here: World, limits: Limits = UNLIMITED, expires_ms: int | None = None):
        self.time, self.transport = Time(), FakeTransport()
        self.ended = 0
        loop = asyncio.get_running_loop()
        bus, subjects = here.outside, here.subjects
        sessions = Sessions(
            "n1", Secrets(b"key"), bus=bus, subjects=subjects, new_id=lambda: "0" * 16, loop=loop,
            tasks=here.tasks, metrics=here.metrics, grace_s=1,
        )  # fmt: skip
        targets = Targets(
            "n1", sessions, bus=bus, subjects=subjects, new_id=lambda: "0" * 16, loop=loop,
            others=lambda: 0,
        )  # fmt: skip
        door = Authenticator(
            AuthSettings(), anonymous=True, clock=self.time.clock, new_id=lambda: "0" * 16
        )
        services = Services(
            "n1", "life", here.room, here.hub, targets, door, limits, 10, self.time.clock,
            lambda: "0" * 16, loop, here.tasks, here.metrics,
        )  # fmt: skip
        self.session = Session("n1-ann", "ann", "Ann")
        self.outbox = Outbox(self.transport, JSON, self._ended)
        identity = Identity("ann", "Ann", expires_ms=expires_ms)
        self.conversation = Conversation(services, self.session, identity, self.outbox)
        self.conversation.greet(resumed=False)

    def _ended(self) -> None:
        self.ended += 1

    def say(self, frame: dict[str, Any]) -> None:
        self.conversation.hear()
        self.conversation.receive(json.dumps(frame).encode(), True)
        self.conversation.look()

    @property
    def frames(self) -> list[dict[str, Any]]:
        return self.transport.frames()

    def beat(self, after_s: float) -> None:
        self.time.now_s += after_s
        self.conversation.beat(self.time.now_s)


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world() as made:
        yield made


# -- whatever comes --------------------------------------------------------------------------------

NAMES = st.sampled_from(["lobby", "", "a" * 200, "* >", "\ud800"]) | st.integers() | st.none()
TYPES = st.sampled_from([
    "join", "leave", "history", "members", "auth", "ping", "chat.message", "x.y", "joined",
    "hello", "nothing", ".", "a..b",
])  # fmt: skip
FRAMES = st.fixed_dictionaries(
    {"type": TYPES | st.none() | st.integers()},
    optional={
        "id": st.integers() | st.text(max_size=70) | st.none() | st.booleans(),
        "room": NAMES,
        "data": st.recursive(st.none() | st.text(), st.lists, max_leaves=5),
        "to": st.sampled_from([{"user": "bob"}, {"session": "n1-x"}, [], {}, 7, [{"user": ""}]]),
        "since": st.integers(-5, 5) | st.sampled_from(["new", "last:3", "x", 2**70]),
        "epoch": st.text(max_size=3),
        "ephemeral": st.booleans() | st.integers(),
        "echo": st.booleans() | st.none(),
        "before": st.integers(-2, 9),
        "after": st.integers(-2, 9),
        "limit": st.integers(-2, 900),
        "token": st.text(max_size=5),
    },
)
# Constants of the code are tried as well; who says bye, though, is closed as it wishes.
BINARY = st.binary(max_size=40).filter(lambda raw: b'"bye"' not in raw)
MESSAGES = FRAMES.map(lambda frame: json.dumps(frame).encode()) | BINARY


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(MESSAGES, st.booleans()), max_size=12))
def test_nothing_that_a_client_sends_raises_or_closes(messages: list[tuple[bytes, bool]]) -> None:
    async def run() -> None:
        async with world() as here:
            talk = Talk(here)
            for raw, text in messages:
                talk.conversation.receive(raw, text)
            await turns(20)
            assert talk.ended == 0
            talk.say({"type": "ping", "id": "alive"})
            pongs = [frame for frame in talk.frames if frame.get("id") == "alive"]
            assert [frame["type"] for frame in pongs] == ["pong"]
            talk.conversation.closed()

    asyncio.run(run())


async def test_a_bug_of_ours_costs_one_frame_only(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = Talk(here)
    monkeypatch.setattr(here.room, "lane", lambda *_: 1 // 0)
    talk.say({"type": "join", "id": 1, "room": "lobby"})
    talk.say({"type": "ping", "id": 2})
    assert talk.frames[1]["error"]["code"] == "handler_failed"
    assert talk.frames[1]["id"] == 1
    assert talk.frames[2]["type"] == "pong"


# -- patience --------------------------------------------------------------------------------------


async def test_a_silent_client_is_asked_and_then_given_up(here: World) -> None:
    talk = Talk(here)
    talk.beat(9)
    assert PING not in talk.transport.written
    talk.beat(1)
    talk.beat(9)
    assert talk.transport.written.count(PING) == 1
    assert talk.ended == 0
    talk.beat(1)
    assert talk.frames[-1]["data"]["code"] == "heartbeat"


async def test_any_sign_of_life_starts_the_patience_anew(here: World) -> None:
    talk = Talk(here)
    for _ in range(5):
        talk.beat(10)
        talk.time.now_s += 9
        talk.conversation.alive()
    assert talk.transport.written.count(PING) == 5
    assert talk.ended == 0


async def test_a_client_that_takes_what_waits_is_alive_though_it_does_not_see_the_ping_yet(
    here: World,
) -> None:
    talk = Talk(here)
    for talk.transport.waiting in (50_000, 30_000, 10_000):
        talk.beat(10)
        assert talk.ended == 0
    talk.beat(10)
    assert talk.frames[-1]["data"]["code"] == "heartbeat"


async def test_a_node_that_was_asleep_asks_before_it_gives_up(here: World) -> None:
    talk = Talk(here)
    talk.beat(3600)
    assert talk.ended == 0
    assert PING in talk.transport.written


async def test_tokens_may_live_for_longer_than_timers(here: World) -> None:
    talk = Talk(here, expires_ms=1_000_000 + 400 * DAY_MS)
    assert talk.frames[0]["data"]["expires_s"] == 400 * 86_400
    talk.conversation.closed()


# -- bounds ----------------------------------------------------------------------------------------


async def test_a_client_that_asks_more_than_is_answered_is_not_read(here: World) -> None:
    talk = Talk(here)
    talk.say({"type": "join", "room": "lobby"})
    here.room.silent = True
    while talk.transport.reading:
        talk.say({"type": "chat.message", "data": "x" * 1000})
    asked = sum(isinstance(ask, Say) for _, ask in here.room.asked)
    assert BYTES // (ASK_BYTES + 1100) < asked < BYTES // (ASK_BYTES + 1000)


async def test_who_has_asked_too_much_and_goes_is_heard_to_the_end(here: World) -> None:
    talk = Talk(here)
    here.room.silent = True
    talk.say({"type": "join", "room": "lobby"})
    for _ in range(BYTES // ASK_BYTES):
        talk.conversation.receive(b'{"type":"chat.message"}', True)
    talk.say({"type": "bye"})
    assert talk.ended == 1
    # Its own Close is to come yet.
    assert talk.transport.reading


async def test_a_client_that_does_not_read_its_answers_is_not_heard(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_POLL_S", (0.001, 0.002))
    talk = Talk(here)
    talk.transport.waiting = HIGH + 1
    talk.say({"type": "ping"})
    await until(lambda: not talk.transport.reading)
    talk.transport.waiting = 0
    await until(lambda: talk.transport.reading)
    assert talk.ended == 0


async def test_whoever_was_told_to_go_is_heard_all_the_same(here: World) -> None:
    talk = Talk(here)
    talk.transport.waiting = HIGH + 1
    # Its own Close is to come yet.
    talk.say({"type": "bye"})
    await turns()
    assert talk.ended == 1
    assert talk.transport.reading


async def test_a_client_that_never_reads_its_answers_is_given_up(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "PATIENCE_S", 0.01)
    talk = Talk(here)
    talk.transport.waiting = HIGH + 1
    talk.say({"type": "ping"})
    await until(lambda: talk.ended)
    assert talk.frames[-1]["data"]["code"] == "too_slow"


def bookworm(here: World) -> Talk:
    """A client that asks for more of a long past than its socket holds, and does not read it."""
    for _ in range(200):
        here.room.say("x" * 4000)
    talk = Talk(here)
    talk.say({"type": "join", "room": "lobby"})
    talk.transport.stuck = True
    for number in range(50):
        talk.say({"type": "history", "id": number, "limit": 100})
    return talk


@virtual
async def test_history_is_told_no_faster_than_it_is_read() -> None:
    async with world() as here:
        talk = bookworm(here)
        await asyncio.sleep(1)
        assert 0 < talk.transport.waiting < LOW + VISIBLE_BYTES
        while not any(frame.get("id") == 49 for frame in talk.frames):
            talk.transport.waiting = 0
            await asyncio.sleep(1)
            assert talk.transport.waiting < LOW + VISIBLE_BYTES
        told = [frame["id"] for frame in talk.frames if frame["type"] == "history"]
        assert told == list(range(50))
        assert talk.ended == 0


@virtual
async def test_who_asks_for_history_and_never_reads_it_is_given_up() -> None:
    async with world() as here:
        talk = bookworm(here)
        await until(lambda: talk.ended, within_s=PATIENCE_S + 5)
        assert talk.frames[-1]["data"]["code"] == "too_slow"
        asked = len(here.room.asked)
        await asyncio.sleep(60)
        assert len(here.room.asked) == asked


@virtual
async def test_joins_at_once_fill_no_socket_that_is_not_read() -> None:
    async with world() as here:
        for _ in range(60):
            here.room.say("x" * 4000)
        talk = Talk(here)
        talk.transport.stuck = True
        for number in range(30):
            talk.say({"type": "join", "room": "lobby", "id": number, "since": 0})
        await asyncio.sleep(1)
        assert talk.transport.waiting < 2 * LOW + 64 * 1024


@virtual
async def test_who_is_not_listened_to_is_not_silent() -> None:
    async with world() as here:
        talk = Talk(here)
        talk.transport.waiting = HIGH + 1
        talk.say({"type": "ping"})
        await turns()
        for _ in range(10):
            talk.beat(20)
        assert talk.ended == 0


async def test_a_room_that_nobody_answered_for_can_be_left(here: World) -> None:
    talk = Talk(here)
    here.room.denials = [Denied(Code.UNAVAILABLE.slug, "Nobody answered.", 1000)]
    talk.say({"type": "join", "room": "lobby"})
    # It is in: only the answer was lost.
    here.room.members["n1-ann"] = Member("n1-ann", "ann", "Ann", "n1", "a")
    talk.say({"type": "leave", "room": "lobby", "id": 1})
    assert talk.frames[-1] == {"type": "left", "id": 1, "room": "lobby"}
    assert not here.room.members
    talk.say({"type": "leave", "room": "lobby", "id": 2})
    assert talk.frames[-1]["error"]["code"] == "not_joined"


@pytest.mark.parametrize("code", [Code.FORBIDDEN, Code.UNAVAILABLE])
async def test_who_is_not_let_in_learns_nothing_of_the_room(here: World, code: Code) -> None:
    here.room.say("a secret")
    talk = Talk(here)
    here.room.delay_turns = 5
    here.room.denials = [Denied(code.slug, "Not you.")]
    talk.say({"type": "join", "room": "lobby", "id": 1})
    here.room.delay_turns = 0
    talk.say({"type": "history", "room": "lobby", "id": 2})
    talk.say({"type": "members", "room": "lobby", "id": 3})
    await turns(20)
    talk.say({"type": "history", "room": "lobby", "id": 4})
    await turns(20)
    told = [(frame["id"], frame["error"]["code"]) for frame in talk.frames[1:]]
    assert told == [(1, code.slug), *((id, "not_joined") for id in (2, 3, 4))]
    talk.say({"type": "join", "room": "lobby", "id": 5})
    talk.say({"type": "members", "room": "lobby", "id": 6})
    talk.say({"type": "history", "room": "lobby", "id": 7})
    await until(lambda: talk.frames[-1].get("id") == 7)
    assert [frame["type"] for frame in talk.frames[-3:]] == ["joined", "members", "history"]


async def test_a_room_that_is_left_and_joined_again_says_so_in_this_order(here: World) -> None:
    talk = Talk(here)
    talk.say({"type": "join", "room": "lobby"})
    for turn in range(2):
        # The later question would be answered earlier, as it may be while a room moves.
        here.room.delay_turns = 20
        talk.say({"type": "chat.message", "room": "lobby", "id": f"said {turn}"})
        talk.say({"type": "leave", "room": "lobby", "id": f"left {turn}"})
        here.room.delay_turns = 0
        talk.say({"type": "join", "room": "lobby", "id": f"joined {turn}"})
        talk.say({"type": "chat.message", "room": "lobby", "id": f"more {turn}"})
        talk.say({"type": "ping", "id": f"ping {turn}"})
        await turns(40)
    told = [frame["id"] for frame in talk.frames if "id" in frame]
    order = ("ping", "said", "left", "joined", "more")
    assert told == [f"{what} {turn}" for turn in range(2) for what in order]


async def test_what_comes_after_the_end_is_not_heard(here: World) -> None:
    talk = Talk(here)
    talk.say({"type": "bye"})
    talk.say({"type": "ping"})
    assert [frame["type"] for frame in talk.frames] == ["hello", "bye"]
    assert talk.ended == 1
