"""A worker's process as its supervisor sees it: what it says, that it hangs, how it ends."""

import asyncio
import errno
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.support.orphans import die_with_parent

from roomful.config import Config
from roomful.failure import Failure
from roomful.workers import worker as module
from roomful.workers.line import Order
from roomful.workers.worker import Ended, Worker

Run = Callable[[str], Awaitable[Worker]]


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    """A worker that runs a shell script, whose output is what it says to its supervisor."""
    async with AsyncExitStack() as running:

        async def started(script: str) -> Worker:
            ours, theirs = socket.socketpair()
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    "sh", "-c", script, stdout=theirs.fileno(), preexec_fn=die_with_parent
                )
            worker = Worker(process, *await asyncio.open_unix_connection(sock=ours))
            running.push_async_callback(worker.end)
            return worker

        yield started


async def test_one_that_takes_clients_and_ends(run: Run) -> None:
    worker = await run("echo alive; echo ready; echo alive; exit 3")
    assert await worker.ready()
    assert await worker.ended() == Ended(3, None, ready=True)


async def test_one_that_says_why_it_does_not_start(run: Run) -> None:
    worker = await run("""echo 'failed "No broker."'; exit 1""")
    assert not await worker.ready()
    ended = await worker.ended()
    assert (ended, str(ended)) == (Ended(1, "No broker.", ready=False), "No broker.")


@pytest.mark.parametrize(
    "said",
    [
        """printf 'failed "No bro'""",
        "head -c 200000 /dev/zero",
        "head -c 200000 /dev/zero; echo",
    ],
)
async def test_one_whose_words_make_no_sense(run: Run, said: str) -> None:
    worker = await run(f"echo ready; {said}; exit 1")
    assert await worker.ready()
    assert await worker.ended() == Ended(1, None, ready=True)


async def test_one_that_is_killed(run: Run) -> None:
    worker = await run("kill -9 $$")
    assert not await worker.ready()
    assert str(await worker.ended()) == "killed by signal 9"


async def test_one_that_hangs_is_killed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    monkeypatch.setattr(module, "HUNG_S", 0.2)
    worker = await run("echo ready; exec sleep 60")
    assert await worker.ready()
    with capture_logs() as logs:
        assert await worker.ended() == Ended(-signal.SIGKILL, None, ready=True)
    assert {line["event"] for line in logs} == {"worker.hung"}


async def test_one_that_does_not_start_is_killed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    monkeypatch.setattr(module, "START_S", 0.2)
    worker = await run("exec sleep 60")
    with capture_logs() as logs:
        async with asyncio.timeout(5):
            assert not await worker.ready()
            assert await worker.ended() == Ended(-signal.SIGKILL, None, ready=False)
    assert {line["event"] for line in logs} == {"worker.hung"}


@pytest.mark.parametrize("ready", [True, False])
async def test_one_whose_line_is_held_open_by_its_child(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ready: bool
) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    child = tmp_path / "child"
    word = "ready" if ready else "alive"
    worker = await run(f"sleep 60 & echo $! >{child}; echo {word}; exit 3")
    try:
        with capture_logs() as logs:
            async with asyncio.timeout(5):
                assert await worker.ready() == ready
                assert await worker.ended() == Ended(3, None, ready=ready)
        assert logs == []
    finally:
        os.kill(int(child.read_text()), signal.SIGKILL)


async def test_one_that_lives_is_left_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.1)
    monkeypatch.setattr(module, "HUNG_S", 1.0)
    worker = await run("for i in $(seq 15); do echo alive; sleep 0.1; done; exit 5")
    assert (await worker.ended()).code == 5


async def test_told_it_ends_and_told_again_nothing_happens(run: Run) -> None:
    worker = await run("exec sleep 60")
    worker.tell()
    assert (await worker.ended()).code == -signal.SIGTERM
    worker.tell()
    await worker.end()


async def test_one_that_ends_before_it_has_read_its_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    worker = await Worker.start(Order(Config.model_validate({}), tmp_path))
    assert not await worker.ready()
    assert await worker.ended() == Ended(1, None, ready=False)


async def test_a_process_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    with pytest.raises(Failure, match="cannot be started: No such file"):
        await Worker.start(Order(Config.model_validate({}), tmp_path))


async def test_without_a_socket_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "socketpair", none_left)
    with pytest.raises(Failure, match="cannot be started: Too many open files"):
        await Worker.start(Order(Config.model_validate({}), tmp_path))
