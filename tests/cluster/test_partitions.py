"""One node is cut off from the broker, wholly or in part, for longer than its lease."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from urllib.parse import urlsplit

import aiohttp
import pytest
from tests.cluster.conftest import Connect, StartNode
from tests.support.cluster import NodeProcess, until
from tests.support.nats_server import NatsServer
from tests.support.party import Party

from roomful.check.proxy import FaultProxy

Fault = Callable[[FaultProxy], None]

FAULTS: dict[str, Fault] = {
    "connections are reset and refused": lambda proxy: proxy.cut(),
    "nothing gets through": lambda proxy: proxy.hold(),
    "the node is not heard": lambda proxy: proxy.hold("up"),
    "the node hears nothing": lambda proxy: proxy.hold("down"),
    "its leases": lambda proxy: _only(proxy, "leases"),
    "its appends": lambda proxy: _only(proxy, "appends"),
    "its events": lambda proxy: _only(proxy, "events"),
}


def _only(proxy: FaultProxy, connection: str) -> None:
    """Nothing gets through on one of the node's three connections."""
    proxy.only(f"roomful {connection}".encode())
    proxy.hold()


@pytest.fixture
async def proxy(frail_server: NatsServer) -> AsyncIterator[FaultProxy]:
    host, port = urlsplit(frail_server.url).hostname, urlsplit(frail_server.url).port
    assert host is not None
    assert port is not None
    async with FaultProxy(host, port) as proxy:
        yield proxy


@pytest.fixture
async def nodes(start_node: StartNode, proxy: FaultProxy) -> list[NodeProcess]:
    """The first stands behind the proxy."""
    return [await start_node(nats=f"nats://127.0.0.1:{proxy.port}"), await start_node()]


async def _taken_over(nodes: list[NodeProcess]) -> None:
    """The second node owns everything, and the first knows that it serves nobody."""
    other = nodes[1]
    await until(lambda: "node.lost" in other.log, "the node is taken for dead", within_s=15)
    await until(
        lambda: "partitions.claimed" in other.log.rpartition("node.lost")[2], "rooms get new owners"
    )
    await until(lambda: not _serves(nodes[0]), "it notices itself")


def _serves(node: NodeProcess) -> bool:
    return node.log.count("host.suspended") == node.log.count("host.resumed")


@pytest.mark.parametrize("what", FAULTS)
async def test_a_node_that_is_cut_off_is_replaced_and_comes_back(
    nodes: list[NodeProcess], proxy: FaultProxy, what: str
) -> None:
    party = Party(nodes)
    await party.gather()

    async def cut_off() -> None:
        FAULTS[what](proxy)
        await _taken_over(nodes)
        assert not await _ready(nodes[0])
        proxy.heal()
        await until(lambda: _serves(nodes[0]), "it comes back", within_s=20)

    await party.talk(cut_off)
    await party.check(nodes[1])
    assert party.stayed, "a client lost its socket"
    await until(lambda: _ready(nodes[0]), "it is ready again")
    assert all("Traceback" not in node.log for node in nodes)
    await party.leave()


async def _ready(node: NodeProcess) -> bool:
    with suppress(aiohttp.ClientError):
        return await node.ready()
    return False


async def test_clients_of_a_node_that_is_cut_off_keep_their_sockets_and_are_told(
    start_node: StartNode, proxy: FaultProxy, connect: Connect
) -> None:
    cut = await start_node("--request-timeout-s", "2", nats=f"nats://127.0.0.1:{proxy.port}")
    other = await start_node()
    ann = await connect(cut, room="lobby", user="ann")
    bob = await connect(other, room="lobby", user="bob")
    for wire in (ann, bob):
        await wire.next("joined")
    proxy.hold()
    for _ in range(3):
        refusal = await ann.say("lobby", "anyone?")
        assert refusal["error"]["code"] == "unavailable"
        assert refusal["error"]["retry"]
    await _taken_over([cut, other])
    late = await connect(cut, user="cid")
    refusal = await late.ask({"type": "join", "room": "lobby"})
    assert refusal["error"]["code"] == "unavailable"
    assert (await bob.say("lobby", "still here"))["type"] == "ack"
    assert ann.closed is None
    proxy.heal()
    await ann.where(type="chat.message", data__text="still here", within_s=20)
