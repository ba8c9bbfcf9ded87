"""The chat page in one window, as the person in front of it sees and uses it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support.browser import Browser, Page
from yarl import URL

_SAID = """[...document.querySelectorAll('#log .row:is(.said, .whisper)')].map((row) => ({
  text: row.querySelector('.bubble').textContent,
  name: row.querySelector('.name').textContent,
  whisper: row.classList.contains('whisper'),
  fate: row.matches('.pending') ? 'pending' : row.matches('.failed') ? 'failed' : 'sent',
}))"""
_PEOPLE = "[...document.querySelectorAll('#people .who')].map((who) => who.textContent)"
_OVERFLOW = """[document.documentElement, document.querySelector('#scroller')]
  .some((one) => one.scrollWidth > one.clientWidth)"""


class ChatWindow:
    """`page` is the window itself."""

    def __init__(self, page: Page, node: str) -> None:
        self.page = page
        self._node = URL(node)

    async def enter(self, room: str, name: str) -> "ChatWindow":
        """Open the page under a name, and wait until one is in the room."""
        await self.page.goto(str(self._node.with_query(room=room, name=name)))
        me = "document.querySelector('#people .self .who')?.textContent"
        await self.page.wait_for(f"{me} === {json.dumps(name)}")
        return self

    async def say(self, text: str) -> None:
        """Write a line and press Enter."""
        await self.page.click("#composer textarea")
        await self.page.type(text)
        await self.page.press("Enter")

    async def said(self) -> list[dict[str, Any]]:
        """The messages on the page from top to bottom."""
        rows: list[dict[str, Any]] = await self.page.evaluate(_SAID)
        return rows

    async def texts(self) -> list[str]:
        return [row["text"] for row in await self.said()]

    async def sees(self, text: str, seconds: float = 10, *, fate: str = "sent") -> None:
        """Wait until a message with this text is on the page, and has come to this."""
        wanted = f"(row) => row.text === {json.dumps(text)} && row.fate === {json.dumps(fate)}"
        await self.page.wait_for(f"{_SAID}.some({wanted})", seconds)

    async def sees_state(self, state: str, seconds: float = 10) -> None:
        """Wait for what the pill says about the connection."""
        shown = "document.querySelector('#state').dataset.state"
        await self.page.wait_for(f"{shown} === {json.dumps(state)}", seconds)

    async def sees_people(self, *names: str, seconds: float = 15) -> None:
        """Wait until exactly these are listed, oneself first."""
        listed = f"JSON.stringify({_PEOPLE})"
        await self.page.wait_for(f"{listed} === {json.dumps(_compact(names))}", seconds)

    async def overflows(self) -> bool:
        """Whether anything sticks out at a side."""
        return bool(await self.page.evaluate(_OVERFLOW))


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@asynccontextmanager
async def window(browser: Browser, node: str) -> AsyncIterator[ChatWindow]:
    """A window of its own, before it has gone to the chat of the node at this address."""
    async with browser.page() as page:
        yield ChatWindow(page, node)
