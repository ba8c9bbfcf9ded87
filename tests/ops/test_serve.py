"""How a node that runs comes to its end: told once, told twice, or left by its broker."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from roomful import serve as serving
from roomful.config import Config
from roomful.failure import Failure
from roomful.serve import serve
from roomful_nodes.nats_connection import BrokerError
from roomful_rooms.directory import Conflict, Unavailable
from roomful_rooms.kinds import Kinds


class FakeNode:
    """Notes what is done to it; draining lasts until `drained` is set."""

    id = "n1"

    def __init__(self) -> None:
        self.replaced = asyncio.Event()
        self.done: list[str] = []
        self.drained = asyncio.Event()
        self.draining = asyncio.Event()
        self.problem: Exception | None = None

    async def drain(self, window_s: float) -> None:
        self.done.append(f"drain {window_s}")
        self.draining.set()
        if self.problem is not None:
            raise self.problem
        await self.drained.wait()
        self.done.append("drained")

    @asynccontextmanager
    async def running(self, *_: object) -> AsyncIterator["FakeNode"]:
        try:
            yield self
        finally:
            self.done.append("stopped")


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch) -> FakeNode:
    """Takes the place of a real node, on no broker at all."""
    fake = FakeNode()
    monkeypatch.setattr(serving, "serving", fake.running)
    monkeypatch.setattr(serving, "_seams", seams)
    # Freezing what the tests have made would keep it for ever.
    monkeypatch.setattr(serving, "_settle_memory", lambda _: None)
    return fake


@asynccontextmanager
async def seams(_: Config, closed: Callable[[], None]) -> AsyncIterator[Callable[[], None]]:
    yield closed


def config(**values: object) -> Config:
    return Config.model_validate(values)


def told(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


async def until_started(task_of: Callable[[asyncio.Event], Any]) -> Any:
    """Start serving, and return its task once the node takes clients."""
    started = asyncio.Event()
    task = asyncio.create_task(task_of(started))
    await happened(started, task)
    return task


async def happened(event: asyncio.Event, serving_task: "asyncio.Task[None]") -> None:
    """Wait for `event`; raises what ends the serving before that."""
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait({waiting, serving_task}, return_when=asyncio.FIRST_COMPLETED)
    if serving_task.done():
        waiting.cancel()
        await serving_task
    assert event.is_set()


def run(started: asyncio.Event) -> Any:
    return serve(config(drain_window_s=7), Kinds(), lambda _node: started.set())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_once_it_drains_and_stops(node: FakeNode, number: signal.Signals) -> None:
    task = await until_started(run)
    told(number)
    await happened(node.draining, task)
    node.drained.set()
    await task
    assert node.done == ["drain 7.0", "drained", "stopped"]


async def test_told_twice_it_hurries(node: FakeNode) -> None:
    task = await until_started(run)
    told(signal.SIGTERM)
    await happened(node.draining, task)
    with capture_logs() as logs:
        told(signal.SIGINT)
        await task
    assert node.done == ["drain 7.0", "stopped"]
    assert [line["event"] for line in logs] == ["node.hurried"]


async def test_a_drain_that_fails_does_not_keep_it_from_stopping(node: FakeNode) -> None:
    node.problem = ValueError("a bug")
    task = await until_started(run)
    with capture_logs() as logs:
        told(signal.SIGTERM)
        await task
    assert node.done == ["drain 7.0", "stopped"]
    assert [line["event"] for line in logs] == ["node.drain_failed"]


async def test_replaced_by_another_process_it_ends_without_a_drain(node: FakeNode) -> None:
    task = await until_started(run)
    node.replaced.set()
    with pytest.raises(Failure, match="Another process has become the node n1"):
        await task
    assert node.done == ["stopped"]


async def test_left_by_the_broker_it_ends_with_a_failure(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[Callable[[], None]] = []

    @asynccontextmanager
    async def remembered(_: Config, closed: Callable[[], None]) -> AsyncIterator[None]:
        lost.append(closed)
        yield

    monkeypatch.setattr(serving, "_seams", remembered)
    node.drained.set()
    task = await until_started(run)
    lost[0]()
    with pytest.raises(Failure, match="closed the connection for good"):
        await task
    assert node.done[-1] == "stopped"


async def test_it_waits_for_a_broker_that_does_not_answer_yet(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = 0

    @asynccontextmanager
    async def running(*_: object) -> AsyncIterator[FakeNode]:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise Unavailable
        yield node

    monkeypatch.setattr(serving, "serving", running)
    monkeypatch.setattr(serving, "PAUSE_S", 0)
    node.drained.set()
    task = await until_started(run)
    told(signal.SIGTERM)
    await task
    assert attempts == 3


async def test_told_to_stop_it_does_not_wait_on(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def running(*_: object) -> AsyncIterator[FakeNode]:
        told(signal.SIGTERM)
        raise Unavailable
        yield

    monkeypatch.setattr(serving, "serving", running)
    monkeypatch.setattr(serving, "PAUSE_S", 0)
    with pytest.raises(Failure, match="does not answer"):
        await serve(config(), Kinds(), lambda _node: None)


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (BrokerError("No NATS broker at nats://a."), "No NATS broker at nats://a."),
        (Unavailable(), "The broker does not answer"),
        (Conflict("The node n1 is there already."), "The node n1 is there already."),
        (OSError(98, "odd text"), r"Cannot listen on 127.0.0.1:8000 \(Address already in use\)"),
        (OSError("no number"), r"Cannot listen on 127.0.0.1:8000 \(no number\)"),
    ],
)
async def test_what_keeps_it_from_starting_is_told(
    monkeypatch: pytest.MonkeyPatch, problem: Exception, said: str
) -> None:
    @asynccontextmanager
    async def failing(*_: object) -> AsyncIterator[None]:
        raise problem
        yield

    monkeypatch.setattr(serving, "_seams", failing)
    with pytest.raises(Failure, match=said):
        await serve(config(), Kinds(), lambda _node: None)
