"""A node's way out, whole nodes in this process: by a call, by an order, alone, or all at once."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs
from tests.support.cluster import until
from tests.support.nodes import MemoryCluster, MemoryNode
from tests.support.wire import Wire

from roomful_nodes import drain
from roomful_protocol.errors import Refused

Nodes = tuple[MemoryNode, MemoryNode]


@pytest.fixture
async def nodes() -> AsyncIterator[Nodes]:
    cluster = MemoryCluster()
    async with cluster.node(grace_s=5) as one, cluster.node(grace_s=5) as two:
        await until(lambda: len(one.node._cluster.nodes) == 2, "they know each other")
        yield one, two


def owned(node: MemoryNode) -> int:
    return node.node._cluster.owned


async def state(through: MemoryNode, id: str) -> str:
    return next(view.state for view in await through.node.operator.nodes() if view.id == id)


async def test_rooms_go_first_then_clients_and_the_node_stays(nodes: Nodes) -> None:
    one, two = nodes
    wires = [await Wire.open(one.url, room="lobby") for _ in range(3)]
    with capture_logs() as logs:
        await one.node.drain(0.3)
    assert (owned(one), owned(two), len(one.gateway)) == (0, 256, 0)
    assert [await wire.until_closed() for wire in wires] == [1012] * 3
    events = [line["event"] for line in logs]
    assert events.index("partitions.handed_over") < events.index("gateway.draining")
    assert events.index("gateway.draining") < events.index("node.drained")
    await until(lambda: two.node._cluster.nodes["n1"].state == "drained", "the other knows")
    assert await state(two, "n1") == "drained"
    assert "This node is drained." in one.node.operator.readiness()
    # What is said of a drained node goes on being true: it takes nothing back.
    again = await Wire.open(two.url, room="lobby")
    assert (await again.say("lobby", "hi"))["type"] == "ack"
    assert owned(one) == 0
    for wire in (*wires, again):
        await wire.close()


async def test_a_drained_node_is_drained_at_once(nodes: Nodes) -> None:
    one, _ = nodes
    await one.node.drain(0)
    with capture_logs() as logs:
        await one.node.drain(60)
    assert logs == []


async def test_an_order_reaches_another_node(nodes: Nodes) -> None:
    one, two = nodes
    wire = await Wire.open(two.url, room="lobby")
    await one.node.operator.drain("n2", 0.2)
    await until(lambda: one.node._cluster.nodes["n2"].state == "drained", "it is drained")
    assert (owned(one), owned(two)) == (256, 0)
    assert await wire.until_closed() == 1012
    await wire.close()


async def test_a_node_can_be_ordered_through_itself(nodes: Nodes) -> None:
    one, two = nodes
    await one.node.operator.drain("n1", 0)
    await until(lambda: two.node._cluster.nodes["n1"].state == "drained", "it is drained")
    assert (owned(one), owned(two)) == (0, 256)


async def test_an_order_for_nobody_is_refused(nodes: Nodes) -> None:
    with pytest.raises(Refused, match="No living node is named n3"):
        await nodes[0].node.operator.drain("n3", 0)


async def test_an_order_is_not_for_the_next_life_of_a_node() -> None:
    cluster = MemoryCluster()
    async with cluster.node() as one:
        async with cluster.node(node_id="twice") as first:
            await one.node.operator.drain("twice", 0)
            await until(lambda: first.node._drain.state == "drained", "the first is drained")
        await asyncio.sleep(0.002)  # its successor starts in another millisecond
        async with cluster.node(node_id="twice") as second:
            await until(lambda: "twice" in one.node._cluster.nodes, "the second is seen")
            assert second.node._drain.state is None
            assert second.node.operator.readiness() != ["This node is drained."]


async def test_the_last_node_does_not_wait_for_others() -> None:
    async with MemoryCluster().node() as alone:
        wire = await Wire.open(alone.url, room="lobby")
        async with asyncio.timeout(drain.STUCK_S / 2):
            await alone.node.drain(0)
        assert owned(alone) == 256
        await wire.close()


async def test_all_nodes_at_once_do_not_wait_for_each_other(nodes: Nodes) -> None:
    async with asyncio.timeout(drain.STUCK_S / 2):
        await asyncio.gather(*(node.node.drain(0) for node in nodes))
    assert owned(nodes[0]) + owned(nodes[1]) == 256


async def test_a_later_shorter_window_hastens(nodes: Nodes) -> None:
    one, _ = nodes
    wires = [await Wire.open(one.url) for _ in range(3)]
    slow = asyncio.create_task(one.node.drain(600))
    await until(lambda: len(one.gateway) == 2, "the first has left")
    async with asyncio.timeout(10):
        await one.node.drain(0)
        await slow
    assert len(one.gateway) == 0
    for wire in wires:
        await wire.close()


async def test_a_hand_over_that_is_stuck_does_not_keep_the_clients(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = nodes
    monkeypatch.setattr(drain, "STUCK_S", 0.2)
    wire = await Wire.open(one.url, room="lobby")

    async def never(_partition: int) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(one.node._host, "release", never)
    with capture_logs() as logs:
        await one.node.drain(0)
    assert "node.hand_over_stuck" in [line["event"] for line in logs]
    assert await wire.until_closed() == 1012
    await wire.close()


async def test_progress_is_told(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = nodes
    monkeypatch.setattr(drain, "PROGRESS_S", 0.05)
    wires = [await Wire.open(one.url) for _ in range(4)]
    with capture_logs() as logs:
        draining = asyncio.create_task(one.node.drain(1))

        def told() -> bool:
            info = two.node._cluster.nodes["n1"]
            return info.state == "draining" and info.connections < 4 and info.left_s is not None

        await until(told, "the other node sees how far it is", every_s=0.005)
        await draining
    lines = [line for line in logs if line["event"] == "node.drain_progress"]
    assert lines[-1]["connections"] < lines[0]["connections"]
    # The first is a guess, from however many rooms a busy machine has moved by then.
    assert lines[-1]["left_s"] < min(lines[0]["left_s"], 5)
    for wire in wires:
        await wire.close()
