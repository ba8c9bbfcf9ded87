"""Brokers that forget: a machine that boots, and a store that is put back as it was before."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.cluster.conftest import Connect, StartNode
from tests.support.checks import check_contiguous
from tests.support.cluster import NodeProcess, until
from tests.support.nats_server import NatsServer
from tests.support.wire import Json, Wire

NOTE = Path(".roomful/nats/incarnation")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[NodeProcess]:
    node = NodeProcess(tmp_path, "--grace-s", "1")
    try:
        yield await node.start()
    finally:
        await node.cleanup()


async def said(node: NodeProcess, *texts: str) -> tuple[str, int]:
    """Say something in the lobby; its epoch, and the seq of the last."""
    wire = await Wire.open(node.url, room="lobby", user="ann")
    assert wire.hello["durability"] == {"copies": 1, "power_loss_s": 0.2}
    joined = await wire.next("joined")
    acks = [await wire.say("lobby", text) for text in texts]
    await wire.close()
    return joined["data"]["epoch"], acks[-1]["seq"]


async def come_back(node: NodeProcess, epoch: str, last: int) -> dict[str, object]:
    wire = await Wire.open(node.url, room="lobby", user="bob", since=last, epoch=epoch)
    joined = await wire.next("joined")
    await wire.close()
    data: dict[str, object] = joined["data"]
    return data


async def test_without_a_boot_nothing_is_lost_and_after_one_clients_are_told(
    node: NodeProcess, tmp_path: Path
) -> None:
    epoch, last = await said(node, "a", "b")
    await node.kill()
    await node.start()
    back = await come_back(node, epoch, last)
    assert (back["epoch"], back["recovered"], back["gap"]) == (epoch, True, None)

    await node.kill()
    note = json.loads((tmp_path / NOTE).read_text())
    (tmp_path / NOTE).write_text(json.dumps(note | {"boot": "another"}))
    await node.start()
    back = await come_back(node, epoch, last)
    assert back["epoch"] != epoch
    assert not back["recovered"]
    assert isinstance(back["gap"], dict)
    assert back["gap"]["reason"] == "epoch"
    assert "embedded.store_unsure" in node.log

    second, last = await said(node, "c")
    assert second == back["epoch"]
    await node.kill()
    await node.start()
    back = await come_back(node, second, last)
    assert (back["epoch"], back["recovered"]) == (second, True)


async def test_other_nodes_on_an_embedded_broker_know_its_incarnation(
    node: NodeProcess, tmp_path: Path
) -> None:
    await node.kill()
    note = json.loads((tmp_path / NOTE).read_text())
    (tmp_path / NOTE).write_text(json.dumps(note | {"boot": "another"}))
    await node.start()
    folder = tmp_path / ".roomful" / "nats"
    url = f"nats://127.0.0.1:{(folder / 'port').read_text().strip()}"
    token = (folder / "token").read_text().strip()
    other = NodeProcess(tmp_path, "--nats", url, "--nats-token", token)
    try:
        await other.start()
        incarnation = json.loads((tmp_path / NOTE).read_text())["incarnation"]
        rooms = [f"room-{n}" for n in range(8)]
        wire = await Wire.open(other.url, room=rooms, user="ann")
        epochs = [(await wire.where(type="joined", room=room))["data"]["epoch"] for room in rooms]
        await wire.close()
        assert all(epoch.endswith(f"-{incarnation}") for epoch in epochs)
    finally:
        await other.cleanup()


# -- a server of the operator's --------------------------------------------------------------------


def put_back(server: NatsServer, copy: Path) -> None:
    """Start the server on an older copy of its store."""
    server.stop()
    shutil.rmtree(server.store)
    shutil.copytree(copy, server.store)
    server.start()


def copied(server: NatsServer, copy: Path) -> Path:
    server.stop()
    shutil.copytree(server.store, copy)
    server.start()
    return copy


async def test_a_store_put_back_under_living_nodes_is_noticed_by_all(
    start_node: StartNode, connect: Connect, frail_server: NatsServer, tmp_path: Path
) -> None:
    nodes = await asyncio.gather(start_node(), start_node())
    ann = await connect(nodes[0], room="lobby", user="ann")
    bob = await connect(nodes[1], room="lobby", user="bob")
    for wire in (ann, bob):
        await wire.next("joined")
    await ann.say("lobby", "kept")
    copy = copied(frail_server, tmp_path / "copy")
    for text in ("a", "b", "c"):
        last = (await ann.say("lobby", text))["seq"]
    await bob.where(seq=last)
    put_back(frail_server, copy)
    ack = await bob.ask({"type": "chat.message", "room": "lobby", "data": {"text": "after"}}, 20)
    assert ack["seq"] < last, "the broker has lost nothing"
    for wire in (ann, bob):
        await check_told(wire, ack["seq"])


async def check_told(wire: Wire, seq: int) -> None:
    """The client was told that numbers start over, and all from there to `seq`, on its socket."""
    gap = await wire.next("gap")
    # By the owner that knew more, which begins anew; or, if it was replaced meanwhile by one that
    # does not, by the feed, which has told another event under the same number.
    assert gap["data"]["reason"] in ("epoch", "lost")
    start = wire.frames.index(gap)

    def anew() -> list[Json]:
        return [f for f in wire.frames[start:] if "seq" in f and f["type"] != "ack"]

    await until(lambda: [f for f in anew() if f["seq"] == seq], f"{seq} is heard")
    check_contiguous(anew(), gap["data"]["to"])
    assert wire.closed is None


async def test_a_store_put_back_under_nobody_is_noticed_by_those_who_know_more(
    start_node: StartNode, connect: Connect, frail_server: NatsServer, tmp_path: Path
) -> None:
    node = await start_node()
    ann = await connect(node, room="lobby", user="ann")
    epoch = (await ann.next("joined"))["data"]["epoch"]
    await ann.say("lobby", "kept")
    copy = copied(frail_server, tmp_path / "copy")
    for text in ("a", "b", "c"):
        last = (await ann.say("lobby", text))["seq"]
    await node.kill()
    put_back(frail_server, copy)
    other = await start_node()
    back = await come_back(other, epoch, last)
    assert back["epoch"] == epoch
    assert not back["recovered"]
    head = back["seq"]
    assert isinstance(head, int)
    assert back["gap"] == {"from": head + 1, "to": last, "reason": "lost"}
