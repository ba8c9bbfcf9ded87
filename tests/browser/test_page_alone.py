"""What the chat page shows when things go wrong, with a node that is the test."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.support.browser import Browser
from tests.support.chat_window import ChatWindow, window

import roomful_nodes

WEB: Final = Path(roomful_nodes.__file__).parent / "web"
FAKE: Final = (Path(__file__).parent / "fake_socket.js").read_text().replace("export ", "")
MINE: Final = "FakeSocket.last.of('chat.message')"


@pytest.fixture
async def ann(browser: Browser) -> AsyncIterator[ChatWindow]:
    """Ann in the lobby at seq 5, on a page whose WebSocket is a fake."""

    async def index(_: web.Request) -> web.FileResponse:
        return web.FileResponse(WEB / "index.html")

    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_static("/web", WEB)
    async with TestServer(app) as server, window(browser, str(server.make_url("/"))) as ann:
        fake = f"{FAKE}; Object.assign(window, {{WebSocket: FakeSocket, FakeSocket}})"
        await ann.page.call("Page.addScriptToEvaluateOnNewDocument", source=fake)
        await ann.page.goto(str(server.make_url("/?room=lobby&name=Ann&user=ann")))
        await ann.page.wait_for("window.FakeSocket && FakeSocket.last")
        await ann.page.evaluate("FakeSocket.last.hello(); FakeSocket.last.joined(5)")
        await ann.page.evaluate("FakeSocket.last.event(4); FakeSocket.last.event(5)")
        yield ann


async def test_a_message_is_pending_until_it_is_acked(ann: ChatWindow) -> None:
    await ann.say("on its way")
    await ann.sees("on its way", fate="pending")
    ack = f"{{type: 'ack', id: {MINE}[0].id, room: 'lobby', seq: 6}}"
    await ann.page.evaluate(f"FakeSocket.last.says({ack})")
    await ann.sees("on its way")
    own = "{data: {text: 'on its way'}, from: {user: 'ann', name: 'Ann', session: 'n1-s1'}}"
    await ann.page.evaluate(f"FakeSocket.last.event(6, {own})")
    assert (await ann.texts()).count("on its way") == 1


async def test_a_message_whose_event_comes_before_its_ack_is_there_once(ann: ChatWindow) -> None:
    await ann.say("quick")
    own = "{data: {text: 'quick'}, from: {user: 'ann', name: 'Ann', session: 'n1-s1'}}"
    ack = f"{{type: 'ack', id: {MINE}[0].id, room: 'lobby', seq: 6}}"
    await ann.page.evaluate(f"FakeSocket.last.event(6, {own})")
    await ann.sees("quick")
    await ann.page.evaluate(f"FakeSocket.last.says({ack})")
    assert await ann.texts() == ["message 4", "message 5", "quick"]


async def test_a_refused_message_can_be_sent_again(ann: ChatWindow) -> None:
    await ann.say("not now")
    error = "{code: 'forbidden', message: 'The room is closed.', retry: false}"
    refusal = f"{{type: 'error', id: {MINE}[0].id, room: 'lobby', error: {error}}}"
    await ann.page.evaluate(f"FakeSocket.last.says({refusal})")
    await ann.sees("not now", fate="failed")
    await ann.page.wait_for("document.querySelector('.note').innerText || true")
    assert "The room is closed." in await ann.page.evaluate("document.body.innerText")
    await ann.page.click(".failed .note button")
    await ann.sees("not now", fate="pending")
    assert await ann.page.evaluate(f"{MINE}.length") == 2


async def test_a_gap_is_shown_where_it_is(ann: ChatWindow) -> None:
    gap = "{type: 'gap', room: 'lobby', data: {from: 6, to: 9, reason: 'retention'}}"
    await ann.page.evaluate(f"FakeSocket.last.says({gap}); FakeSocket.last.event(10)")
    await ann.sees("message 10")
    rows = "[...document.querySelectorAll('#log .row')].map((row) => row.classList[1])"
    assert await ann.page.evaluate(rows) == ["said", "said", "gap", "said"]
    notice = "document.querySelector('.gap').innerText"
    assert "Some messages are no longer kept." in await ann.page.evaluate(notice)


async def test_a_room_that_began_anew_goes_on_below(ann: ChatWindow) -> None:
    await ann.page.evaluate("FakeSocket.last.drop()")
    await ann.page.wait_for("FakeSocket.all.length === 2")
    anew = "{epoch: 'e2', recovered: false, gap: {from: 6, to: 6, reason: 'epoch'}}"
    await ann.page.evaluate(f"FakeSocket.last.hello(); FakeSocket.last.joined(3, {anew})")
    await ann.page.evaluate("FakeSocket.last.event(4, {data: {text: 'new four'}})")
    await ann.sees("new four")
    assert await ann.texts() == ["message 4", "message 5", "new four"]


async def test_the_state_of_the_connection_is_told(ann: ChatWindow) -> None:
    await ann.sees_state("open")
    await ann.page.evaluate("FakeSocket.last.drop()")
    await ann.sees_state("reconnecting")
    await ann.page.wait_for("FakeSocket.all.length === 2")
    await ann.page.evaluate("FakeSocket.last.drop(4501)")
    await ann.sees_state("closed")
    await ann.page.click("#state button")
    await ann.page.wait_for("FakeSocket.all.length === 3")
    await ann.page.evaluate("FakeSocket.last.hello()")
    await ann.sees_state("joining")
    await ann.page.evaluate("FakeSocket.last.joined(5)")
    await ann.sees_state("open")


async def test_a_room_that_turns_one_away_says_why(ann: ChatWindow) -> None:
    await ann.page.evaluate("FakeSocket.last.drop()")
    await ann.page.wait_for("FakeSocket.all.length === 2")
    error = "{code: 'forbidden', message: 'Members only.', retry: false}"
    refusal = (
        f"{{type: 'error', id: FakeSocket.last.of('join')[0].id, room: 'lobby', error: {error}}}"
    )
    await ann.page.evaluate(f"FakeSocket.last.hello(); FakeSocket.last.says({refusal})")
    await ann.sees_state("refused")
    assert "Members only." in await ann.page.evaluate("document.body.innerText")
