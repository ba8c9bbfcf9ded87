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
DIRECTORY = directory_stream(SUBJECTS)
ROOM = RoomName("room")
ELECTION_S = 20.0


def led_by(cluster: NatsCluster, stream: str) -> ClusterServer:
    leader = cluster.leader(stream)
    assert leader is not None
    return leader


def log_of(room: RoomName) -> str:
    return log_stream(SUBJECTS, stream_of(partition_of(room)))


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
    flags = (*servers, "--nats-token", nats_cluster.token)
    # The second does not know what the first has been told.
    settings = (("--replicas", "3", "--nats-sync-s", "0"), ("--lease-s", "15"))
    async with AsyncExitStack() as running:
        nodes = [NodeProcess(tmp_path, *flags, *own) for own in settings]
        for node in nodes:
            running.push_async_callback(node.cleanup)
            await node.start()
        # One server leads both, so that one election concerns the room and the leases.
        await nats_cluster.entrust(log_of(ROOM), led_by(nats_cluster, DIRECTORY))
        party = Party(nodes, ROOM)
        await party.gather()
        running.push_async_callback(party.leave)
        yield party


async def check(party: Party) -> None:
    await party.check(party.nodes[0])
    assert party.stayed
    assert not any("node.lease_lost" in node.log for node in party.nodes)
    assert all("Traceback" not in node.log for node in party.nodes)


async def test_it_loses_a_server_that_leads_nothing_of_theirs_and_then_one_that_leads_all(
    party: Party, nats_cluster: NatsCluster
) -> None:
    told = [chatter.hello["durability"] for chatter in party.chatters[:2]]
    assert told == [{"copies": 3, "power_loss_s": 0}, {"copies": 3, "power_loss_s": None}]
    assert ["nats.replicas_differ" in node.log for node in party.nodes] == [False, True]
    leader = led_by(nats_cluster, DIRECTORY)
    spare = next(server for server in nats_cluster.servers if server is not leader)

    async def lose_spare() -> None:
        spare.kill()

    async def lose_leader() -> None:
        leader.kill()
        for stream in (DIRECTORY, log_of(party.room)):
            await until(
                lambda stream=stream: nats_cluster.leader(stream) not in (None, leader),  # type: ignore[misc]
                f"another leads {stream}", ELECTION_S,
            )  # fmt: skip

    await party.talk(lose_spare)
    assert not any(chatter.refused for chatter in party.chatters)
    spare.start()
    await nats_cluster.ready()
    await party.talk(lose_leader)
    await check(party)


async def test_a_server_is_taken_out_of_service_and_then_all_are_killed(
    party: Party, nats_cluster: NatsCluster
) -> None:
    leader = led_by(nats_cluster, log_of(party.room))

    async def retire() -> None:
        leader.retire()
        await until(lambda: not nats_cluster.clients(leader), "its clients go elsewhere", 30.0)

    async def restart() -> None:
        for server in nats_cluster.servers:
            server.kill()
        nats_cluster.start()

    await party.talk(retire, sayings=150)
    await party.check(party.nodes[0])
    await party.talk(restart)
    await check(party)
