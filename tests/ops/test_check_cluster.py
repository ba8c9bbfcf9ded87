"""The places of a cluster of the check's own."""

import asyncio
import socket

import pytest

from roomful.check.cluster import _reserved_port


async def test_a_port_stays_the_nodes_while_no_process_listens_there() -> None:
    with _reserved_port() as port:
        for _ in range(2):
            server = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", port)
            server.close()
            await server.wait_closed()
        with socket.socket() as somebody, pytest.raises(OSError, match="in use"):
            somebody.bind(("127.0.0.1", port))
