"""The bus on a nats-server that is restarted, and subjects that came from outside."""

import pytest
from tests.support.nats_server import NatsServer
from tests.support.twins import until

from roomful_nodes.bus import Message
from roomful_nodes.nats_bus import NatsBus
from roomful_nodes.nats_connection import NatsConnection

pytest_plugins = ["tests.support.nats_server", "tests.support.frail"]


async def test_a_bus_bounces_and_is_heard_after_restarts(
    frail_server: NatsServer, connection: NatsConnection, witness: NatsConnection
) -> None:
    heard: list[Message] = []
    bus, other = NatsBus(connection), NatsBus(witness)
    await bus.subscribe("x.bnc.*", heard.append)
    assert (bus.losses, other.losses) == (0, 0)
    frail_server.restart()
    await until(lambda: bus.losses > 0 and other.losses > 0)
    await until(lambda: bus.connected and other.connected)
    bus.publish("x.nobody", b"", "x.bnc.1")
    await until(lambda: len(heard) == 1)
    other.publish("x.bnc.2", b"hi")
    await until(lambda: len(heard) == 2)
    assert heard == [Message("x.bnc.1", b"", undelivered=True), Message("x.bnc.2", b"hi")]


@pytest.mark.parametrize("subject", ["a b", "a\r\nPUB x 0\r\n", "", "ü", "a\tb"])
async def test_what_is_no_subject_never_reaches_the_wire(
    connection: NatsConnection, subject: str
) -> None:
    bus = NatsBus(connection)
    with pytest.raises(ValueError, match="not a subject"):
        bus.publish(subject, b"")
    with pytest.raises(ValueError, match="not a subject"):
        bus.publish("fine", b"", subject)
    with pytest.raises(ValueError, match="not a subject"):
        await bus.subscribe(subject, lambda _: None)
