"""The server that does nothing but pass on: what it tells, to whom, in which size."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support.cluster import until

from roomful.bench.flood import JOINED
from roomful.bench.relay import Member, Relay
from roomful.bench.wire import client_frame, split

SIZE = 200


class Heard:
    """One client, and what it has been sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self._data = b""

    async def enter(self) -> None:
        self.writer.write(b"GET /ws HTTP/1.1\r\n\r\n")
        await self._reader.readuntil(JOINED)
        await self._reader.readuntil(b"}")

    async def told(self, number: int) -> list[bytes]:
        """The payloads of so many frames."""
        async with asyncio.timeout(10):
            while len(found := split(self._data)[0]) < number:
                self._data += await self._reader.read(65_536)
        return [payload for _, payload in found]


@pytest.fixture
async def relay() -> Relay:
    return Relay(asyncio.get_running_loop(), SIZE)


@pytest.fixture
async def clients(relay: Relay) -> AsyncIterator[list[Heard]]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Member(relay), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made = [Heard(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(3)]
    try:
        for one in made:
            await one.enter()
        yield made
    finally:
        for one in made:
            one.writer.close()
        await until(lambda: not relay.members, "all have left")
        server.close()
        await server.wait_closed()


async def test_what_one_says_all_are_told_in_one_size(clients: list[Heard]) -> None:
    short, long = b'{"a":1}', b"x" * 150
    clients[0].writer.write(client_frame(short) + client_frame(long))
    for one in clients:
        assert await one.told(2) == [short.ljust(SIZE), long.ljust(SIZE)]


async def test_who_has_gone_is_told_nothing(relay: Relay, clients: list[Heard]) -> None:
    clients[0].writer.close()
    await until(lambda: len(relay.members) == 2, "one has left")
    clients[1].writer.write(client_frame(b"still here"))
    assert await clients[2].told(1) == [b"still here".ljust(SIZE)]
