"""The workers' port: shared by those who are told to, closed to everybody else."""

import socket
from collections.abc import Callable

import pytest
from tests.support.cluster import free_port

from roomful.workers.port import held

HOST = "127.0.0.1"


def listening(port: int, *, shared: bool) -> socket.socket:
    """As a node listens."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        server.bind((HOST, port))
        server.listen()
    except OSError:
        server.close()
        raise
    return server


def test_workers_come_and_go(port: int) -> None:
    with held(HOST, port):
        with listening(port, shared=True), listening(port, shared=True):
            socket.create_connection((HOST, port)).close()
        with listening(port, shared=True):
            socket.create_connection((HOST, port)).close()
        # The holder itself takes no connections.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, port))


@pytest.fixture
def port() -> int:
    return free_port()


def hold(port: int) -> None:
    with held(HOST, port):
        pass


def listen_alone(port: int) -> None:
    listening(port, shared=False).close()


@pytest.mark.parametrize("come", [hold, listen_alone])
@pytest.mark.parametrize("workers", [0, 1])
def test_nobody_else_gets_it(port: int, come: Callable[[int], None], workers: int) -> None:
    with held(HOST, port):
        running = [listening(port, shared=True) for _ in range(workers)]
        with pytest.raises(OSError, match="in use"):
            come(port)
        for server in running:
            server.close()
    come(port)


@pytest.mark.parametrize("shared", [False, True])
def test_a_port_that_somebody_has_is_not_shared(port: int, shared: bool) -> None:
    with listening(port, shared=shared), pytest.raises(OSError, match="in use"):
        hold(port)


def test_a_port_is_had_again_right_after_connections() -> None:
    """They linger in the kernel for a minute."""
    port = free_port()
    with (
        held(HOST, port),
        listening(port, shared=True) as server,
        socket.create_connection((HOST, port)) as client,
    ):
        # Who closes first has its end linger.
        server.accept()[0].close()
        client.recv(1)
    hold(port)
