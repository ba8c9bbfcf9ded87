"""What the embedded server's health says, and what it does not."""

import asyncio
import socket

import pytest

from roomful.embedded_health import gave_up

DEAD = '{"status":"unavailable","error":"JetStream stream \'$G > RF_LOG_3\' write error: no space"}'


@pytest.mark.parametrize(
    ("status", "body", "dead"),
    [
        ("200 OK", '{"status":"ok"}', False),
        ("503 Service Unavailable", DEAD, True),
        ("503 Service Unavailable", '{"status":"unavailable","error":"starting"}', False),
        ("503 Service Unavailable", '{"status":"unavailable"}', False),
        ("503 Service Unavailable", "no JSON", False),
        ("404 Not Found", "{}", False),
    ],
)
async def test_only_a_write_error_means_that_it_gave_up(status: str, body: str, dead: bool) -> None:
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        assert await gave_up(f"http://127.0.0.1:{port}/hidden") is dead
    assert asked == [b"GET /hidden/healthz HTTP/1.1\r\n"]


async def test_a_server_that_does_not_answer_says_nothing() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert not await gave_up(f"http://127.0.0.1:{unused.getsockname()[1]}/hidden")
