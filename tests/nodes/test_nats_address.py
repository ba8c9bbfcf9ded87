"""Addresses of brokers: what is one, how it is shown, which is tried next."""

from urllib.parse import urlsplit

import pytest
from nats.aio.client import Server

from roomful_nodes.nats_address import (
    LONGEST_PAUSE_S,
    BrokerError,
    checked,
    next_server,
    without_credentials,
)  # fmt: skip


@pytest.mark.parametrize("url", ["", "nats://", "nats://h:notaport", "http://h:1", "nats://h:0"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BrokerError, match="is no address of a NATS broker"):
        checked(url)


def test_a_refused_address_does_not_show_its_password() -> None:
    with pytest.raises(BrokerError) as refused:
        checked("nats://user:secret@h:notaport")
    assert "secret" not in str(refused.value)


def test_a_host_alone_is_an_address() -> None:
    assert checked("host:4222") == "nats://host:4222"
    assert checked("tls://host") == "tls://host"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://user:pass@host:4222", "nats://host:4222"),
        ("nats://user:p@ss@host:4222", "nats://host:4222"),
        ("tls://token@host", "tls://host"),
        ("nats://[::1]:4222", "nats://[::1]:4222"),
        ("nats://127.0.0.1:1?x=y", "nats://127.0.0.1:1"),
    ],
)
def test_credentials_are_not_shown(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


def test_the_server_with_the_fewest_failures_is_tried_next() -> None:
    servers = [Server(urlsplit(f"nats://h{n}:1"), reconnects=n) for n in (3, 1, 2)]  # type: ignore[arg-type]
    choice, pause = next_server(servers, {})
    assert choice is servers[1]
    assert 0.05 <= pause <= 0.1


def test_pauses_grow_to_a_limit_and_differ() -> None:
    servers = [Server(urlsplit("nats://h:1"), reconnects=10**6)]  # type: ignore[arg-type]
    pauses = {next_server(servers, {})[1] for _ in range(20)}
    assert len(pauses) > 1
    assert all(LONGEST_PAUSE_S / 2 <= pause <= LONGEST_PAUSE_S for pause in pauses)


def test_nodes_that_lost_the_same_server_do_not_come_back_in_step() -> None:
    chosen, pauses = [], []
    for _ in range(60):
        servers = [Server(urlsplit(f"nats://h{n}:1")) for n in range(3)]  # type: ignore[arg-type]
        choice, pause = next_server(servers, {})
        chosen.append(servers.index(choice))  # type: ignore[arg-type]
        pauses.append(pause)
    assert all(chosen.count(n) > 5 for n in range(3)), "they all go to one server"
    assert len(set(pauses)) > 50
    assert max(pauses) > 1.5 * min(pauses)
