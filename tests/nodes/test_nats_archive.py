"""The archive's parts on a real nats-server: none are left behind, none are missing."""

import asyncio

from tests.support.nats_server import NatsServer

from roomful_nodes import nats_stored
from roomful_nodes.nats_archive import NatsArchive
from roomful_nodes.nats_connection import NatsConnection
from roomful_nodes.nats_streams import archive_stream
from roomful_protocol.ids import partition_of
from roomful_protocol.subjects import Subjects, stream_of

pytest_plugins = ["tests.support.nats_server", "tests.support.frail"]

ROOM = "lobby"


async def parts_left(connection: NatsConnection, subjects: Subjects) -> list[str]:
    stream = archive_stream(subjects, stream_of(partition_of(ROOM)))
    pattern = subjects.archive(ROOM, "snap") + ".*.*"
    return await nats_stored.subjects(connection, stream, pattern)


async def test_no_parts_are_left_of_blobs_that_are_gone(
    connection: NatsConnection, witness: NatsConnection, subjects: Subjects
) -> None:
    archives = NatsArchive(connection, subjects), NatsArchive(witness, subjects)
    large = bytes(1_200_000)
    await asyncio.gather(*(archives[n % 2].save(ROOM, "snap", large) for n in range(6)))
    await archives[0].save(ROOM, "snap", large)
    assert len(await parts_left(connection, subjects)) == 3
    await archives[0].save(ROOM, "snap", b"small")
    assert await parts_left(connection, subjects) == []
    await archives[0].save(ROOM, "snap", large)
    await archives[0].discard(ROOM, "snap")
    assert await parts_left(connection, subjects) == []


async def test_a_large_save_across_a_restart_is_whole(
    frail_server: NatsServer, connection: NatsConnection, subjects: Subjects
) -> None:
    archive = NatsArchive(connection, subjects)
    await archive.save(ROOM, "snap", b"before")
    blob = bytes(range(256)) * 80_000
    saving = asyncio.create_task(archive.save(ROOM, "snap", blob))
    async with asyncio.timeout(10):
        while len(await parts_left(connection, subjects)) < 2:
            assert not saving.done()
    frail_server.restart()
    await saving
    assert await archive.load(ROOM, "snap") == blob
    assert len(await parts_left(connection, subjects)) == 40
