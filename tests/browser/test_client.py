"""The browser's client against a socket whose other end is the test, in a real browser."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.support.browser import Browser

import roomful_nodes

HERE = Path(__file__).parent
CASES = [
    (file.name, case)
    for file in sorted(HERE.glob("*_cases.js"))
    for case in re.findall(r"^export async function (\w+)", file.read_text(), re.MULTILINE)
]


@pytest.fixture
async def origin() -> AsyncIterator[str]:
    """Where the client's modules and the cases are served."""

    async def blank(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>cases</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", blank)
    app.router.add_static("/web", Path(roomful_nodes.__file__).parent / "web")
    app.router.add_static("/cases", HERE)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


def test_there_are_cases() -> None:
    assert len(CASES) > 20


@pytest.mark.parametrize(("file", "case"), CASES, ids=[case for _, case in CASES])
async def test_client(browser: Browser, origin: str, file: str, case: str) -> None:
    async with browser.page(origin) as page:
        done = f"import('/cases/{file}').then((all) => all.{case}()).then(() => 'done')"
        assert await page.evaluate(done) == "done"
