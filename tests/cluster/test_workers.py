"""Several workers on one port, and the broker that they share: real processes, one supervisor."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.cluster import NodeProcess, until
from tests.support.nats_server import NatsServer
from tests.support.orphans import alive
from tests.support.party import Party

OPTIONS = ("--lease-s", "2", "--grace-s", "5", "--drain-window-s", "0.5")


class Served:
    """A supervisor with two workers."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.process = NodeProcess(
            folder, "--workers", "2", "--lease-s", "2", "--grace-s", "5", "--drain-window-s", "0.5",
            *options,
        )  # fmt: skip

    @property
    def workers(self) -> dict[str, int]:
        """The newest process of each worker, by the node's id."""
        return {line["worker"]: line["pid"] for line in self.process.logged("worker.started")}

    @property
    def running(self) -> list[int]:
        """The processes of all workers and brokers that run now."""
        lines = self.process.logged("worker.started") + self.process.logged("embedded.started")
        return [line["pid"] for line in lines if alive(line["pid"])]

    async def started(self, times: int) -> None:
        """Workers have come up so many times."""
        await until(
            lambda: len(self.process.logged("worker.started")) >= times, "workers are up", 20
        )


@asynccontextmanager
async def serving(served: Served) -> AsyncIterator[Party]:
    """Three people on its port, who are not all at the same worker."""
    party = Party([served.process])
    try:
        await served.process.start()
        await served.started(2)
        await party.gather()
        while len({chatter.hello["node"] for chatter in party.chatters}) < 2:
            await party.chatters[0].reconnect()
        yield party
        await party.leave()
    finally:
        await served.process.cleanup()


async def test_a_worker_dies_and_another_follows(tmp_path: Path) -> None:
    served = Served(tmp_path)
    process = served.process
    async with serving(served) as party:
        before = served.workers
        dead = party.chatters[0].hello["node"]

        async def kill() -> None:
            os.kill(before[dead], signal.SIGKILL)
            await served.started(3)

        await party.talk(kill)
        await party.check(process)
        assert all(len(chatter.sessions) == 1 for chatter in party.chatters)
        assert {id for id, pid in served.workers.items() if pid != before[id]} == {dead}
        [exited] = process.logged("worker.exited")
        assert (exited["worker"], exited["code"], exited["ready"]) == (dead, -9, True)
        # Whoever is asked tells of all.
        counted = await process.metrics()
        assert sum(counted[f'roomful_connections{{node="{id}"}}'] for id in before) == 3

        # The port is not for others who would share it.
        second = NodeProcess(tmp_path / "second", "--workers", "2", port=process.port)
        await second.start(ready=False)
        assert await second.ended() == 1
        assert second.log.count(f"Cannot listen on 127.0.0.1:{process.port}") == 1

        assert await process.stop() == 0
    assert served.running == []
    # The supervisor goes last, and had nothing else to tell.
    assert [line["node"] for line in process.logged("embedded.stopped")] == [exited["node"]]
    assert len(process.logged("worker.exited")) == 1
    assert "Traceback" not in process.log


async def test_workers_are_renewed_one_by_one_and_end_with_their_supervisor(
    tmp_path: Path, frail_server: NatsServer
) -> None:
    served = Served(tmp_path, "--nats", frail_server.url, "--nats-token", frail_server.token)
    process = served.process
    async with serving(served) as party:
        before = served.workers

        async def hang_up() -> None:
            process.signal(signal.SIGHUP)
            await until(lambda: process.logged("workers.renewed"), "all are renewed", 30)

        await party.talk(hang_up)
        await party.check(process)
        assert all(len(chatter.sessions) == 1 for chatter in party.chatters)
        assert set(served.workers) == set(before)
        assert not set(served.workers.values()) & set(before.values())
        assert [line["code"] for line in process.logged("worker.exited")] == [0, 0]

        await process.kill()
        await until(lambda: not served.running, "workers end when their supervisor is gone")
    for event in ("worker.orphaned", "node.hurried"):
        assert {line["node"] for line in process.logged(event)} == set(before)
    # Each has left the cluster, once when it was renewed and once now.
    assert len(process.logged("node.stopped")) == 4
    assert "Traceback" not in process.log


async def test_what_keeps_a_worker_from_starting_is_told_once(tmp_path: Path) -> None:
    process = NodeProcess(tmp_path, "--workers", "2", "--app", "none:Room")
    await process.start(ready=False)
    assert await process.ended(20) == 1
    assert process.log.count("There is no module none") == 1
    assert process.logged("embedded.stopped")
