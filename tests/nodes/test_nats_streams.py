"""Making a cluster's streams on a real nats-server, and the sentences where it cannot be used."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.nats_server import NatsServer
from tests.support.twins import opened, remove_streams

from roomful_nodes import nats_streams
from roomful_nodes.nats_connection import BrokerError, NatsConnection
from roomful_nodes.nats_stored import call
from roomful_nodes.nats_streams import (
    archive_stream,
    directory_stream,
    log_stream,
    prepare,
)  # fmt: skip
from roomful_protocol.subjects import STREAMS, Subjects

pytest_plugins = ["tests.support.nats_server"]


@pytest.fixture
async def connection(nats_server: NatsServer, subjects: Subjects) -> AsyncIterator[NatsConnection]:
    async with await opened(nats_server, "test") as connection:
        yield connection
        await remove_streams(connection, subjects)


async def streams(connection: NatsConnection, subjects: Subjects) -> set[str]:
    names: list[str] = (await call(connection, "STREAM.NAMES"))["streams"] or []
    return {name for name in names if name.startswith(subjects.prefix.upper() + "_")}


def all_of(subjects: Subjects) -> set[str]:
    numbers = range(STREAMS)
    return {
        *(log_stream(subjects, number) for number in numbers),
        *(archive_stream(subjects, number) for number in numbers),
        directory_stream(subjects),
    }


def test_streams_are_named_after_the_prefix() -> None:
    assert log_stream(Subjects("rf"), 3) == "RF_LOG_3"
    assert archive_stream(Subjects("rf"), 3) == "RF_ARC_3"
    assert directory_stream(Subjects("my-team")) == "MY-TEAM_DIR"


async def test_all_streams_are_made_once(connection: NatsConnection, subjects: Subjects) -> None:
    await prepare(connection, subjects)
    assert await streams(connection, subjects) == all_of(subjects)
    created = (await call(connection, f"STREAM.INFO.{log_stream(subjects, 3)}"))["created"]
    await prepare(connection, subjects)
    again = (await call(connection, f"STREAM.INFO.{log_stream(subjects, 3)}"))["created"]
    assert again == created


async def test_several_nodes_may_prepare_at_once(
    nats_server: NatsServer, connection: NatsConnection, subjects: Subjects
) -> None:
    async with await opened(nats_server, "b") as b, await opened(nats_server, "c") as c:
        await asyncio.gather(*(prepare(one, subjects) for one in (connection, b, c)))
    assert await streams(connection, subjects) == all_of(subjects)


async def test_a_log_keeps_a_bounded_number_of_records_and_announces_them(
    connection: NatsConnection, subjects: Subjects
) -> None:
    await prepare(connection, subjects)
    info = await call(connection, f"STREAM.INFO.{log_stream(subjects, 2)}")
    config = info["config"]
    assert config["max_msgs_per_subject"] == 4096
    assert config["storage"] == "file"
    assert config["republish"] == {
        "src": f"{subjects.prefix}.log.2.*.*",
        "dest": f"{subjects.prefix}.evt.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}",
    }


async def test_what_an_operator_has_tuned_is_left_alone(
    connection: NatsConnection, subjects: Subjects
) -> None:
    await prepare(connection, subjects)
    name = log_stream(subjects, 0)
    config = (await call(connection, f"STREAM.INFO.{name}"))["config"]
    await call(connection, f"STREAM.UPDATE.{name}", {**config, "max_msgs_per_subject": 9})
    await prepare(connection, subjects)
    config = (await call(connection, f"STREAM.INFO.{name}"))["config"]
    assert config["max_msgs_per_subject"] == 9


async def test_a_stream_of_another_shape_is_refused(
    connection: NatsConnection, subjects: Subjects
) -> None:
    name = log_stream(subjects, 3)
    other = {"name": name, "subjects": [f"{subjects.prefix}.log.3.*.*"], "storage": "memory"}
    await call(connection, f"STREAM.CREATE.{name}", other)
    with pytest.raises(
        BrokerError, match=f"The stream {name} .* with another storage and republish"
    ):
        await prepare(connection, subjects)


@pytest.mark.parametrize("kind", ["LOG", "ARC"])
async def test_streams_beyond_ours_are_refused(
    connection: NatsConnection, subjects: Subjects, kind: str
) -> None:
    title = subjects.prefix.upper()
    name = f"{title}_{kind}_{STREAMS}"
    other = {"name": name, "subjects": [f"{subjects.prefix}.{kind.lower()}.{STREAMS}.>"]}
    await call(connection, f"STREAM.CREATE.{name}", other)
    with pytest.raises(BrokerError, match=rf"{name} .* more than 4; .* named {title}_\*, or "):
        await prepare(connection, subjects)
    assert await streams(connection, subjects) == {name}


async def test_subjects_that_another_stream_stores_are_refused(
    connection: NatsConnection, subjects: Subjects
) -> None:
    name = f"{subjects.prefix.upper()}_FOREIGN"
    await call(
        connection, f"STREAM.CREATE.{name}", {"name": name, "subjects": [f"{subjects.prefix}.>"]}
    )
    with pytest.raises(BrokerError, match=r"Another stream .* choose another prefix"):
        await prepare(connection, subjects)


async def test_more_replicas_than_servers_are_refused(
    connection: NatsConnection, subjects: Subjects
) -> None:
    with pytest.raises(BrokerError, match="too few servers"):
        await prepare(connection, subjects, replicas=3)


async def test_an_old_server_is_refused(
    connection: NatsConnection, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NatsConnection, "server_version", (2, 11))
    with pytest.raises(BrokerError, match=r"nats-server 2\.11 is too old; Roomful needs 2\.12"):
        await prepare(connection, subjects)


async def test_a_server_without_jetstream_is_refused(
    tmp_path: Path, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_streams, "OFF_AFTER_S", 0.1)
    server = NatsServer(tmp_path, jetstream=False)
    server.start()
    try:
        async with await opened(server, "test") as connection:
            with pytest.raises(BrokerError, match=r"JetStream is off at .* --jetstream"):
                await prepare(connection, subjects)
    finally:
        server.close()


async def test_a_broker_that_is_away_for_a_moment_is_waited_for(
    frail_server: NatsServer, subjects: Subjects
) -> None:
    async with await opened(frail_server, "test") as connection:
        frail_server.kill()
        preparing = asyncio.create_task(prepare(connection, subjects))
        await asyncio.sleep(0.1)  # so that it fails at least once
        frail_server.start()
        await preparing
        assert await streams(connection, subjects) == all_of(subjects)
