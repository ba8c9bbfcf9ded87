"""What a supervisor does with its crew when it is told something."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from io import StringIO
from pathlib import Path
from typing import Any, Self

import pytest
from tests.support.cluster import free_port, until

from roomful.config import Config
from roomful.failure import Failure
from roomful.workers import supervise as module
from roomful.workers.supervise import supervise


class Crew:
    """Notes what it is told, and ends when a test says so."""

    def __init__(self, config: Config, siblings: Path) -> None:
        self.config, self.siblings = config, siblings
        self.told: list[str] = []
        self.over = asyncio.Event()

    async def keep(self, started: Callable[[], None]) -> None:
        started()
        await self.over.wait()

    def stop(self) -> None:
        self.told.append("stop")

    def kill(self) -> None:
        self.told.append("kill")
        self.over.set()

    async def renew(self) -> None:
        self.told.append("renew")


class Serving:
    """A supervisor at work."""

    def __init__(self, crew: Crew, task: "asyncio.Task[None]") -> None:
        self.crew, self._task = crew, task

    async def told(self, number: signal.Signals, *expected: str) -> None:
        """Give the supervisor this signal; wait until the crew has been told all that."""
        os.kill(os.getpid(), number)
        await until(lambda: self.crew.told == list(expected), f"{expected}, not {self.crew.told}")

    async def ended(self) -> None:
        async with asyncio.timeout(5):
            await self._task


class SlowBroker:
    """Comes up when a test says so."""

    url, token = "nats://a:4222", "secret"

    def __init__(self) -> None:
        self.awaited, self.up = asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> Self:
        self.awaited.set()
        await self.up.wait()
        return self

    async def __aexit__(self, *raised: object) -> None:
        pass


Serve = Callable[..., Awaitable[Serving]]


@pytest.fixture
async def serve(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serve]:
    """On a broker that nobody asks for anything, and with other settings if need be."""
    tasks: list[asyncio.Task[None]] = []
    crews: list[Crew] = []

    def made(config: Config, siblings: Path) -> Crew:
        crews.append(Crew(config, siblings))
        return crews[-1]

    async def served(**settings: Any) -> Serving:
        monkeypatch.setattr(module, "Crew", made)
        # Where a hang-up is not the end, whoever runs these tests.
        monkeypatch.setattr(sys, "stdout", StringIO())
        config = {"port": free_port(), "workers": 2, "node_id": "n", "nats": "nats://a:4222"}
        whole = Config.model_validate(config | settings)
        started = asyncio.Event()
        tasks.append(asyncio.create_task(supervise(whole, started.set)))
        await started.wait()
        return Serving(crews[-1], tasks[-1])

    yield served
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_once_all_stop_told_twice_they_hurry(
    serve: Serve, number: signal.Signals
) -> None:
    serving = await serve()
    assert serving.crew.siblings.is_dir()
    await serving.told(number, "stop")
    await serving.told(number, "stop", "stop")
    serving.crew.over.set()
    await serving.ended()
    assert not serving.crew.siblings.exists()


async def test_those_who_do_not_hurry_are_killed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HURRIED_S", 0.05)
    serving = await serve()
    await serving.told(signal.SIGTERM, "stop")
    await serving.told(signal.SIGTERM, "stop", "stop", "kill")
    await serving.ended()


async def test_hung_up_it_renews_them_each_time(serve: Serve) -> None:
    serving = await serve()
    await serving.told(signal.SIGHUP, "renew")
    await serving.told(signal.SIGHUP, "renew", "renew")
    await serving.told(signal.SIGTERM, "renew", "renew", "stop")
    serving.crew.over.set()
    await serving.ended()


async def test_hung_up_before_there_are_workers_it_goes_on(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = SlowBroker()
    monkeypatch.setattr(module, "EmbeddedServer", lambda _folder: broker)
    starting = asyncio.ensure_future(serve(nats=()))
    await broker.awaited.wait()
    # Or this would be the end of the tests.
    assert signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL
    seen = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, seen.set)
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGUSR1)
    await seen.wait()
    broker.up.set()
    serving = await starting
    # There was nobody to renew.
    await serving.told(signal.SIGTERM, "stop")
    serving.crew.over.set()
    await serving.ended()


async def test_a_port_that_is_taken_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config = Config.model_validate({"port": port, "workers": 2, "data_dir": tmp_path / "none"})
        with pytest.raises(Failure, match=f"Cannot listen on 127.0.0.1:{port}"):
            await supervise(config, lambda: None)
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240


async def test_without_a_place_for_sockets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    config = {"port": free_port(), "workers": 2, "nats": "nats://a:4222"}
    with pytest.raises(Failure, match="name one with TMPDIR"):
        await supervise(Config.model_validate(config), lambda: None)
