"""A NATS cluster of three, each log on all of them, loses servers while people chat."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.support.cluster import NodeProcess, until
from tests.support.nats_cluster import ClusterServer, NatsCluster
from tests.support.party import Party

from roomful_nodes.nats_streams import directory_stream, log_stream
from roomful_protocol.ids import RoomName, partition_of
from roomful_protocol.subjects import Subjects, stream_of

SUBJECTS = Subjects("rf")
ELECTION_S = 20.0


@pytest.fixture
def nats_cluster(tmp_path: Path) -> Iterator[NatsCluster]:
    cluster = NatsCluster(tmp_path)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
async def party(nats_cluster: NatsCluster, tmp_path: Path) -> AsyncIterator[Party]:
    """Three people on two nodes with the settings that a replicated broker asks for."""
    await nats_cluster.ready()
    servers = [part for url in nats_cluster.urls for part in ("--nats", url)]
    flags = (*servers, "--nats-token", nats_cluster.token, "--replicas", "3")
    async with AsyncExitStack() as running:
        nodes = [NodeProcess(tmp_path, *flags) for _ in range(2)]
        for node in nodes:
            running.push_async_callback(node.cleanup)
            await node.start()
        party = Party(nodes)
        await party.gather()
        running.push_async_callback(party.leave)
        yield party


def led_by(cluster: NatsCluster, stream: str) -> ClusterServer:
    leader = cluster.leader(stream)
    assert leader is not None
    return leader


def log_of(room: RoomName) -> str:
    return log_stream(SUBJECTS, stream_of(partition_of(room)))


async def check(party: Party) -> None:
    await party.check(party.nodes[0])
    assert party.stayed
    assert all("Traceback" not in node.log for node in party.nodes)


async def test_it_loses_a_server_that_leads_nothing_of_theirs(
    party: Party, nats_cluster: NatsCluster
) -> None:
    leads = {led_by(nats_cluster, one).name for one in (log_of(party.room), "RF_DIR")}
    spare = next(server for server in nats_cluster.servers if server.name not in leads)

    async def lose() -> None:
        spare.kill()

    await party.talk(lose)
    await check(party)
    assert not any(chatter.refused for chatter in party.chatters)


async def test_it_loses_the_leader_of_the_log_and_then_that_of_the_directory(
    party: Party, nats_cluster: NatsCluster
) -> None:
    for stream in (log_of(party.room), directory_stream(SUBJECTS)):
        leader = led_by(nats_cluster, stream)

        async def lose(leader: ClusterServer = leader, stream: str = stream) -> None:
            leader.kill()
            await until(
                lambda: nats_cluster.leader(stream) not in (None, leader), "another", ELECTION_S
            )

        await party.talk(lose)
        leader.start()
        await nats_cluster.ready()
    await check(party)
    assert not any("node.lease_lost" in node.log for node in party.nodes)


async def test_a_server_is_taken_out_of_service(party: Party, nats_cluster: NatsCluster) -> None:
    leader = led_by(nats_cluster, log_of(party.room))

    async def retire() -> None:
        leader.retire()
        await until(lambda: not nats_cluster.clients(leader), "its clients go elsewhere", 30.0)

    await party.talk(retire, sayings=200)
    await check(party)


async def test_all_servers_are_killed_and_started_again(
    party: Party, nats_cluster: NatsCluster
) -> None:
    async def restart() -> None:
        for server in nats_cluster.servers:
            server.kill()
        for server in nats_cluster.servers:
            server.start()

    await party.talk(restart)
    await check(party)
