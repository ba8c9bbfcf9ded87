"""The directory on a nats-server that is restarted."""

from tests.support.nats_server import NatsServer
from tests.support.twins import until

from roomful_nodes.nats_connection import NatsConnection
from roomful_nodes.nats_directory import NatsDirectory
from roomful_protocol.subjects import Subjects
from roomful_rooms.directory import Item

pytest_plugins = ["tests.support.nats_server", "tests.support.frail"]


async def test_a_key_expires_though_the_broker_was_restarted(
    frail_server: NatsServer, connection: NatsConnection, subjects: Subjects
) -> None:
    directory = NatsDirectory(connection, subjects)
    items: list[Item] = []
    await directory.watch(items.append)
    await directory.put("node.a", b"1", 0, ttl_s=2)
    frail_server.restart()
    await until(lambda: not connection.connected)
    await until(lambda: connection.connected)
    assert set(await directory.items()) == {"node.a"}
    await until(lambda: bool(items) and items[-1].value is None)
    expired = items[-1].revision
    assert await directory.items() == {}
    assert await directory.put("node.a", b"2", 0) > expired
