"""Rooms whose code blocks, hangs or crashes: the others go on, and it is said which it is."""

import asyncio
import signal
import time
from pathlib import Path

import pytest
from tests.cluster.conftest import Connect, StartNode
from tests.support.cluster import NodeProcess, until

APP = """
import asyncio, os, time
from roomful import ChatRoom, on

class Trying(ChatRoom):
    def __init__(self, context):
        super().__init__(context)
        if self.name == "broken":
            raise RuntimeError("as it always does")

    @on("try.block")
    def block(self, message):
        try:
            os.close(os.open("blocked", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return  # once is enough: the message is asked again elsewhere
        time.sleep(message.data["seconds"])

    @on("try.hang")
    async def hang(self, message):
        await asyncio.Event().wait()
"""


@pytest.fixture
def app(tmp_path: Path) -> str:
    (tmp_path / "trying.py").write_text(APP)
    return "trying:Trying"


async def test_a_blocking_handler_is_named_and_its_rooms_taken_over(
    start_node: StartNode, connect: Connect, app: str
) -> None:
    nodes = await asyncio.gather(*(start_node("--app", app) for _ in range(2)))
    wires = [await connect(node, room="lobby", user="ann") for node in nodes]
    for wire in wires:
        await wire.next("joined")
    await wires[0].send({"type": "try.block", "room": "lobby", "data": {"seconds": 6}, "id": "b"})

    def stalled() -> list[int]:
        return [i for i, node in enumerate(nodes) if node.logged("loop.stalled")]

    await until(stalled, "the stall is reported while it lasts")
    [at] = stalled()
    blocked, other, wire = nodes[at], nodes[1 - at], wires[1 - at]
    line = blocked.logged("loop.stalled")[0]
    assert (line["room"], line["ask"]) == ("lobby", "try.block")
    assert 'time.sleep(message.data["seconds"])' in line["stack"]
    assert not blocked.logged("loop.resumed")

    await until(lambda: other.logged("node.lost"), "its lease expires")
    ack = await wire.say("lobby", "we go on")
    assert ack["type"] == "ack"
    assert not blocked.logged("loop.resumed"), "it was not taken over while it was blocked"

    await until(lambda: blocked.logged("loop.resumed"), "it wakes", within_s=15)
    await until(blocked.ready, "and is of use again", within_s=15)
    assert (await wires[at].say("lobby", "here again"))["type"] == "ack"
    for one in wires:
        await one.where(type="chat.message", data__text="here again")
        assert one.texts("lobby") == ["we go on", "here again"]
    assert (await wires[0].where(id="b"))["type"] == "ack"


async def test_a_pause_of_the_whole_process_is_no_handlers_fault(
    start_node: StartNode, app: str
) -> None:
    node = await start_node("--app", app)
    node.signal(signal.SIGSTOP)
    await until(lambda: _stopped(node), "it stands still")
    await asyncio.sleep(3)  # the pause itself
    node.signal(signal.SIGCONT)
    await until(lambda: node.logged("node.lease_lost"), "it has noticed")
    assert not node.logged("loop.stalled")


def _stopped(node: NodeProcess) -> bool:
    stat = Path(f"/proc/{node.pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


async def test_a_handler_that_never_returns_costs_its_own_room_its_time_limit(
    start_node: StartNode, connect: Connect, app: str
) -> None:
    node = await start_node("--app", app, "--handler-timeout-s", "1")
    ann = await connect(node, room=["lobby", "other"], user="ann")
    await ann.where(type="joined", room="lobby")
    await ann.where(type="joined", room="other")
    await ann.send({"type": "try.hang", "room": "lobby", "id": "hangs"})
    await ann.send({"type": "chat.message", "room": "lobby", "data": {"text": "next"}, "id": "n"})
    assert (await ann.say("other", "undisturbed"))["type"] == "ack"
    assert not [frame for frame in ann.frames if frame.get("id") in ("hangs", "n")]
    assert (await ann.where(id="hangs"))["error"]["code"] == "handler_failed"
    assert (await ann.where(id="n"))["type"] == "ack"


async def test_a_room_that_crashes_on_each_start_is_backed_off_alone(
    start_node: StartNode, connect: Connect, app: str
) -> None:
    flags = ("--app", app, "--request-timeout-s", "4")
    nodes = await asyncio.gather(*(start_node(*flags) for _ in range(2)))
    ann = await connect(nodes[0], room="lobby", user="ann")
    await ann.next("joined")
    bob = await connect(nodes[1], user="bob")
    started = time.monotonic()
    await bob.send({"type": "join", "room": "broken", "id": "in"})
    for number in range(20):
        assert (await ann.say("lobby", f"{number}"))["type"] == "ack"
    assert (await bob.where(id="in"))["error"]["code"] == "unavailable"
    took = time.monotonic() - started
    crashes = [node.logged("room.crashed") for node in nodes]
    assert sum(map(len, crashes)) >= 2
    # Its partition may have moved meanwhile, and each node backs off for itself.
    for lines in crashes:
        pauses = [line["retry_s"] for line in lines]
        assert pauses == sorted(pauses)
        assert sum(pauses[:-1]) <= took
        assert pauses == [min(0.05 * 2**n, 5.0) for n in range(len(pauses))]
        assert {line["room"] for line in lines} <= {"broken"}
