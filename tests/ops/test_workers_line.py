"""What supervisor and worker tell each other, and what a worker does that has lost the other."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.support.cluster import until

from roomful.config import Config
from roomful.workers import line as module
from roomful.workers.line import ALIVE, LONGEST, READY, Line, Order, failure_in


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Line]]:
    """The supervisor's socket, and the worker's end."""
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    line = Line(theirs.detach())
    with ours, line._socket:
        yield ours, line


def test_an_order_comes_whole(ends: tuple[socket.socket, Line], tmp_path: Path) -> None:
    ours, line = ends
    order = Order(Config.model_validate({"node_id": "nw1", "workers": 2}), tmp_path)
    ours.sendall(order.packed())
    assert line.order() == order


@pytest.mark.parametrize("sent", [b"", b'["half an ord'])
def test_a_supervisor_that_is_gone_orders_nothing(
    ends: tuple[socket.socket, Line], sent: bytes
) -> None:
    ours, line = ends
    ours.sendall(sent)
    ours.close()
    assert line.order() is None


def test_what_a_worker_says(ends: tuple[socket.socket, Line]) -> None:
    ours, line = ends
    line.say(READY)
    line.say(ALIVE)
    line.fail("Two lines\nof text.")
    with ours.makefile("rb") as said:
        told = [said.readline() for _ in range(3)]
    assert [word.rstrip() for word in told[:2]] == [READY, ALIVE]
    assert [failure_in(word) for word in told] == [None, None, "Two lines\nof text."]


async def test_a_long_reason_is_cut_to_what_is_heard_as_one_line(
    ends: tuple[socket.socket, Line],
) -> None:
    ours, line = ends
    line.fail("\N{FIRE}" * 100_000)
    said, writer = await asyncio.open_unix_connection(sock=ours)
    async with asyncio.timeout(5):
        assert failure_in(await said.readline()) == "\N{FIRE}" * LONGEST
    writer.close()
    await writer.wait_closed()


def test_nothing_is_said_to_one_who_does_not_listen(ends: tuple[socket.socket, Line]) -> None:
    ours, line = ends
    for _ in range(20_000):
        line.say(ALIVE)
    ours.close()
    line.say(ALIVE)


async def test_who_has_lost_its_supervisor_ends_in_a_hurry_or_at_last_by_force(
    ends: tuple[socket.socket, Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, line = ends
    done: list[tuple[str, int]] = []
    monkeypatch.setattr(os, "kill", lambda _pid, number: done.append(("signal", number)))
    monkeypatch.setattr(os, "_exit", lambda code: done.append(("exit", code)))
    monkeypatch.setattr(module, "ORPHANED_S", 0)
    with capture_logs() as logs:
        line.watch()
        assert not line.cut
        ours.close()
        await until(lambda: len(done) == 3, "it ends")
    assert line.cut
    assert done == [("signal", signal.SIGTERM), ("signal", signal.SIGINT), ("exit", 1)]
    assert [entry["event"] for entry in logs] == ["worker.orphaned"]
