"""The server that only opens WebSockets: at any path, and for as long as the client stays."""

from aiohttp.test_utils import TestClient, TestServer

from roomful.bench.aiohttp_alone import application


async def test_whoever_asks_gets_a_websocket() -> None:
    async with TestClient(TestServer(application())) as client:
        opened = await client.ws_connect("/ws?room=any&name=m1")
        await opened.send_str("heard, and not answered")
        await opened.ping()
        assert not opened.closed
        await opened.close()
        assert opened.close_code == 1000


async def test_whoever_asks_for_something_else_is_refused() -> None:
    async with TestClient(TestServer(application())) as client:
        answer = await client.get("/ws")
        assert answer.status == 400
