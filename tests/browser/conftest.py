"""One Chromium for all of these tests, and a connection of each test's own to it."""

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.support.browser import Browser, chromium


@pytest.fixture(scope="session")
def devtools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with chromium(tmp_path_factory.mktemp("chromium")) as address:
        yield address


@pytest.fixture
async def browser(devtools: str) -> AsyncIterator[Browser]:
    async with Browser.at(devtools) as browser:
        yield browser
