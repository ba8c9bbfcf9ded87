"""The page and its files, as browsers are given them."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from tests.support.nodes import MemoryCluster


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with (
        MemoryCluster().node() as node,
        aiohttp.ClientSession(base_url=node.url) as session,
    ):
        yield session


async def test_the_page_is_served_with_a_policy(http: aiohttp.ClientSession) -> None:
    async with http.get("/?room=lobby") as response:
        assert response.status == 200
        assert response.content_type == "text/html"
        assert "<title>" in await response.text()
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("path", "kind"),
    [("roomful.js", "javascript"), ("chat.css", "text/css"), ("icon.svg", "image/svg+xml")],
)
async def test_its_files_have_their_types_and_are_asked_for_again(
    http: aiohttp.ClientSession, path: str, kind: str
) -> None:
    async with http.get(f"/web/{path}") as response:
        assert response.status == 200
        assert response.content_type.endswith(kind)
        assert response.headers["Cache-Control"] == "no-cache"
        tag = response.headers["ETag"]
    async with http.get(f"/web/{path}", headers={"If-None-Match": tag}) as response:
        assert response.status == 304


@pytest.mark.parametrize(
    "path", ["nothing.js", "../gateway.py", "%2e%2e/gateway.py", "..%2fgateway.py", "/etc/passwd"]
)
async def test_nothing_else_is_served(http: aiohttp.ClientSession, path: str) -> None:
    async with http.get(f"/web/{path}") as response:
        assert response.status == 404
