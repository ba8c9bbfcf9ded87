"""Messages to users and sessions outside any room, and what becomes of them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.support.cluster import until
from tests.support.nodes import MemoryCluster, MemoryNode
from tests.support.wire import Json, Wire

from roomful_nodes import targets
from roomful_nodes.auth import Identity
from roomful_nodes.membership import Membership
from roomful_nodes.memory_bus import MemoryBus
from roomful_protocol.codecs.internode import pack_to_session, unpack_reached
from roomful_protocol.errors import Close, Code, Refused
from roomful_protocol.frames import Say, Target
from roomful_protocol.messages import Direct, Receipt
from roomful_rooms.draft import TURN_BYTES


class Line:
    """A socket that remembers what it was shown, write by write."""

    def __init__(self) -> None:
        self.rooms: dict[str, Membership] = {}
        self.shown: list[tuple[bytes, ...]] = []

    def show(self, *frames_json: bytes) -> None:
        self.shown.append(frames_json)

    def end(self, close: Close) -> None:
        raise AssertionError(close)


@pytest.fixture
async def cluster() -> MemoryCluster:
    return MemoryCluster()


@pytest.fixture
async def nodes(cluster: MemoryCluster) -> AsyncIterator[list[MemoryNode]]:
    async with AsyncExitStack() as running:
        yield [await running.enter_async_context(cluster.node()) for _ in range(3)]


@pytest.fixture
async def wires(nodes: list[MemoryNode]) -> AsyncIterator[dict[str, Wire]]:
    """ann on the first node; bob on all three; cat on the second."""
    places = {"ann": 0, "bob0": 0, "bob1": 1, "bob2": 2, "cat": 1}
    opened = {
        name: await Wire.open(nodes[place].url, user=name[:3], name=name)
        for name, place in places.items()
    }
    # Nodes listen for a user from a moment after his arrival on.
    targets = nodes[0].gateway._targets
    for user in ("bob", "cat"):
        subject = targets._subjects.user(user)
        await until(lambda: len(targets._bus.switch.listeners(subject)) >= 1, user)  # type: ignore[attr-defined]  # noqa: B023
    yield opened
    for wire in opened.values():
        await wire.close()


async def whisper(wire: Wire, *to: dict[str, Any]) -> Json:
    return await wire.ask({"type": "chat.whisper", "to": list(to), "data": {"text": "psst"}})


def heard(wire: Wire) -> int:
    return sum(frame["type"] == "chat.whisper" for frame in wire.frames)


async def test_whoever_is_meant_by_several_targets_hears_it_once(wires: dict[str, Wire]) -> None:
    cat, bob = wires["cat"].hello["session"], wires["bob1"].hello["session"]
    ack = await whisper(wires["ann"], {"user": "cat"}, {"session": cat}, {"user": "cat"})
    assert ack["data"] == {"delivered": 1}
    for count in (1, 2):
        ack = await whisper(wires["ann"], {"session": bob}, {"user": "bob"}, {"user": "cat"})
        assert ack["data"] == {"delivered": 4}
        # An answer comes after all that was written before it.
        for name in ("bob0", "bob1", "bob2", "cat"):
            await wires[name].ask({"type": "ping"})
        assert [heard(wires[name]) for name in ("bob0", "bob1", "bob2")] == [count] * 3
    assert heard(wires["cat"]) == 3


async def test_what_is_too_large_to_be_sent_on_is_refused(nodes: list[MemoryNode]) -> None:
    sessions, told = nodes[0].gateway.sessions, list[int]()
    ann = sessions.open(Identity("ann", "Ann"))
    say = Say("chat.whisper", "x" * TURN_BYTES, to=(Target("user", "bob"),))
    with pytest.raises(Refused, match="bytes") as refused:
        nodes[0].gateway._targets.send(ann, say, told.append)
    assert refused.value.code is Code.TOO_BIG
    assert not told
    assert not nodes[0].gateway._targets._asked


async def test_every_connection_of_a_user_is_reached_wherever_it_is(
    wires: dict[str, Wire],
) -> None:
    ack = await whisper(wires["ann"], {"user": "bob"})
    assert ack["data"] == {"delivered": 3}
    for name in ("bob0", "bob1", "bob2"):
        frame = await wires[name].next("chat.whisper")
        ann = wires["ann"].hello
        assert frame == {
            "type": "chat.whisper",
            "from": {"user": "ann", "name": "ann", "session": ann["session"]},
            "data": {"text": "psst"},
        }
    assert heard(wires["cat"]) == 0


async def test_one_session_is_reached_and_no_other(wires: dict[str, Wire]) -> None:
    for name in ("bob0", "bob2"):
        ack = await whisper(wires["ann"], {"session": wires[name].hello["session"]})
        assert ack["data"] == {"delivered": 1}
        await wires[name].next("chat.whisper")
    assert heard(wires["bob1"]) == 0


async def test_a_list_counts_all_that_were_reached(wires: dict[str, Wire]) -> None:
    ack = await whisper(wires["ann"], {"user": "bob"}, {"session": wires["cat"].hello["session"]})
    assert ack["data"] == {"delivered": 4}


async def test_the_sender_does_not_hear_itself_but_its_other_windows_do(
    wires: dict[str, Wire],
) -> None:
    ack = await whisper(wires["bob1"], {"user": "bob"})
    assert ack["data"] == {"delivered": 2}
    assert heard(wires["bob1"]) == 0
    refused = await whisper(wires["ann"], {"user": "ann"})
    assert refused["error"]["code"] == "unknown_target"


@pytest.mark.parametrize(
    "target",
    [
        {"user": "nobody"},
        {"user": "* >"},
        {"session": "n2-nobody"},
        {"session": "n9-nobody"},
        {"session": "nobody"},
        {"session": "n2-*"},
        {"session": "n2-a.b c"},
    ],
)
async def test_nobody_there_is_said_at_once(
    wires: dict[str, Wire], target: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Were it the patience that ends the count, the answer would not come within this test.
    monkeypatch.setattr(targets, "LONGEST_S", 3600.0)
    refused = await whisper(wires["ann"], target)
    assert refused["error"]["code"] == "unknown_target"
    assert heard(wires["cat"]) == 0


async def test_a_session_that_has_moved_is_found(
    wires: dict[str, Wire], nodes: list[MemoryNode]
) -> None:
    bob = wires["bob0"]
    await bob.vanish()
    again = await Wire.open(
        nodes[2].url, session=bob.hello["session"], secret=bob.hello["secret"], user="bob"
    )

    async def reached() -> bool:
        answer = await whisper(wires["ann"], {"session": bob.hello["session"]})
        return bool(answer["type"] == "ack")

    await until(reached, "found where it is now")
    await again.next("chat.whisper")
    await again.close()


async def test_without_a_broker_the_outcome_is_unknown(
    wires: dict[str, Wire], cluster: MemoryCluster
) -> None:
    cluster.links["n1"].cut()
    answer = await whisper(wires["ann"], {"user": "bob"})
    assert answer["error"]["code"] == "unavailable"
    cluster.links["n1"].mend()
    answer = await whisper(wires["ann"], {"user": "cat"})
    assert answer["data"] == {"delivered": 1}


async def test_without_an_id_only_failure_is_told(wires: dict[str, Wire]) -> None:
    frame = {"type": "chat.whisper", "to": {"user": "cat"}}
    await wires["ann"].send(frame)
    await wires["cat"].next("chat.whisper")
    await wires["ann"].send(frame | {"to": {"user": "nobody"}})
    error = await wires["ann"].next("error")
    assert error["error"]["code"] == "unknown_target"
    assert not [frame for frame in wires["ann"].frames if frame["type"] == "ack"]


async def test_what_a_turn_has_reached_is_told_in_one_message(
    wires: dict[str, Wire], nodes: list[MemoryNode]
) -> None:
    ann, told = wires["ann"], list[list[Receipt]]()
    bus, subjects = nodes[0].gateway._targets._bus, nodes[0].gateway._targets._subjects
    observer = MemoryBus(bus.switch)  # type: ignore[attr-defined]
    await observer.subscribe(
        subjects.reached(nodes[0].node.id), lambda m: told.append(unpack_reached(m.payload))
    )
    sender = nodes[0].gateway.sessions.get(ann.hello["session"])
    assert sender is not None
    counted: list[int] = []
    for _ in range(20):
        send = Say("chat.whisper", to=(Target("user", "cat"),))
        nodes[0].gateway._targets.send(sender, send, counted.append)
    await until(lambda: len(counted) == 20, "counted")
    assert counted == [1] * 20
    # By the node that holds cat's only connection. Both others have answered one roll call.
    counts = [[count for _, count in receipts if count is not None] for receipts in told]
    assert sorted(counts) in ([[], [], [1] * 20], [[], [1] * 20])
    assert sum(count is None for receipts in told for _, count in receipts) == 2


@pytest.mark.parametrize("user", ["cat", "bob"])
async def test_the_count_is_over_when_all_nodes_have_answered_the_roll_call(
    wires: dict[str, Wire], user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "QUIET_S", 3600.0)
    monkeypatch.setattr(targets, "LONGEST_S", 3600.0)
    for _ in range(3):
        ack = await whisper(wires["ann"], {"user": user})
        assert ack["data"] == {"delivered": 1 if user == "cat" else 3}


async def test_a_node_that_does_not_answer_is_waited_for_a_moment_only(
    wires: dict[str, Wire],
    nodes: list[MemoryNode],
    cluster: MemoryCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(targets, "LONGEST_S", 3600.0)
    cluster.links["n3"].cut()
    for _ in range(2):
        ack = await whisper(wires["ann"], {"user": "bob"})
        assert ack["data"] == {"delivered": 2}
    monkeypatch.setattr(targets, "LONGEST_S", 0.05)
    cluster.links["n2"].cut()
    refused = await whisper(wires["ann"], {"user": "cat"})
    assert refused["error"]["code"] == "unknown_target"
    assert not nodes[0].gateway._targets._asked


async def test_what_a_turn_brings_for_one_client_is_written_in_one_piece_and_in_order(
    nodes: list[MemoryNode],
) -> None:
    sessions, told = nodes[1].gateway.sessions, list[Receipt]()
    line = Line()
    bob = sessions.open(Identity("bob", "Bob"))
    sessions.attach(bob, line)
    bus = MemoryBus(sessions._bus.switch)  # type: ignore[attr-defined]
    await bus.subscribe(
        sessions._subjects.reached("n9"), lambda m: told.extend(unpack_reached(m.payload))
    )
    subject = sessions._subjects.session(nodes[1].node.id, bob.id)
    for number in range(5):
        message = Direct(b'{"n":%d}' % number, "n9", f"r{number}")
        bus.publish(subject, pack_to_session(message))
    await until(lambda: len(told) == 5, "told")
    assert line.shown == [tuple(b'{"n":%d}' % number for number in range(5))]
    assert told == [(f"r{number}", 1) for number in range(5)]
