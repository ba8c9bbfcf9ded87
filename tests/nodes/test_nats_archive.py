"""The archive's parts on a real nats-server: none are left behind, none are missing."""

import asyncio

import pytest
from tests.support.nats_server import NatsServer

from roomful_nodes import nats_stored
from roomful_nodes.nats_archive import NatsArchive
from roomful_nodes.nats_connection import NatsConnection
from roomful_nodes.nats_stored import Stored
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


async def test_what_this_node_has_seen_of_a_blob_is_not_read_before_it_is_replaced(
    connection: NatsConnection, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it would come back."""
    looks = list[str]()
    last = nats_stored.last

    async def counted(connection: NatsConnection, stream: str, subject: str) -> Stored | None:
        looks.append(subject)
        return await last(connection, stream, subject)

    monkeypatch.setattr(nats_stored, "last", counted)
    archive = NatsArchive(connection, subjects)
    await archive.load(ROOM, "snap")
    for blob in (b"a", b"b", bytes(1_200_000), bytes(600_000), b"c"):
        await archive.save(ROOM, "snap", blob)
    assert len(looks) == 1
    assert await archive.load(ROOM, "snap") == b"c"
    assert await parts_left(connection, subjects) == []


async def test_what_another_node_has_replaced_since_is_replaced_all_the_same(
    connection: NatsConnection, witness: NatsConnection, subjects: Subjects
) -> None:
    """With nothing left of the versions that one of them did not know of."""
    here, there = NatsArchive(connection, subjects), NatsArchive(witness, subjects)
    for size in (1_000, 1_200_000, 600_000, 10):
        await here.save(ROOM, "snap", bytes(size))
        await there.save(ROOM, "snap", bytes(size) + b"there")
        assert await here.load(ROOM, "snap") == bytes(size) + b"there"
        await there.save(ROOM, "snap", bytes(size) + b"again")
    await here.save(ROOM, "snap", b"last")
    assert await there.load(ROOM, "snap") == b"last"
    assert await parts_left(connection, subjects) == []


async def test_what_this_node_has_saved_is_discarded_without_being_read(
    connection: NatsConnection, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = NatsArchive(connection, subjects)
    await archive.save(ROOM, "snap", b"blob")
    with monkeypatch.context() as patched:
        patched.setattr(nats_stored, "newest", None)
        await archive.discard(ROOM, "snap")
    assert await archive.load(ROOM, "snap") is None
    await archive.discard(ROOM, "snap")


async def test_what_another_node_has_saved_since_is_discarded_too(
    connection: NatsConnection, witness: NatsConnection, subjects: Subjects
) -> None:
    archive, other = NatsArchive(connection, subjects), NatsArchive(witness, subjects)
    await archive.save(ROOM, "snap", b"mine")
    await other.save(ROOM, "snap", bytes(1_200_000))
    await archive.discard(ROOM, "snap")
    assert await other.load(ROOM, "snap") is None
    assert await parts_left(connection, subjects) == []
