"""A node with its own broker is killed; the machine has booted since, or has not."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.cluster import NodeProcess
from tests.support.wire import Wire

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
    joined = await wire.next("joined")
    for text in texts:
        ack = await wire.say("lobby", text)
    await wire.close()
    return joined["data"]["epoch"], ack["seq"]


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
