"""The incarnation of a broker's store, told by its server's name."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.nats_server import NatsServer
from tests.support.twins import opened

from roomful_nodes.nats_keeping import embedded_name, incarnation


@pytest.fixture
def named(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path, name=request.param)
    server.start()
    yield server
    server.close()


@pytest.mark.parametrize(
    ("named", "known"),
    [
        (embedded_name(""), ""),
        (embedded_name("a1b2c3"), "a1b2c3"),
        ("nats-roomful-embedded-1", ""),
        ("operators-own", ""),
    ],
    indirect=["named"],
)
async def test_only_an_embedded_server_knows_it(named: NatsServer, known: str) -> None:
    async with await opened(named, "test") as connection:
        assert await incarnation(connection) == known
