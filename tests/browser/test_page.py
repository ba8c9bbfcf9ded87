"""The chat page against a real node, in real windows."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.browser import Browser
from tests.support.chat_window import window
from tests.support.cluster import NodeProcess

_SEND = """import('/web/roomful.js').then(async ({Roomful}) => {
  const client = Roomful.connect('/ws', {name: 'Scribe', user: 'scribe'});
  const room = client.join('%s');
  await Promise.all(
    Array.from({length: %d}, (_, n) => room.send('chat.message', {text: `line ${n + 1}`})),
  );
  client.close();
})"""

_DRAWER = "getComputedStyle(document.querySelector('#people')).visibility"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def serving(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of a node that all tests share, each in rooms of its own."""
    folder = tmp_path_factory.mktemp("node")
    node = NodeProcess(folder, "--data-dir", str(folder / "data"))
    try:
        yield (await node.start()).url
    finally:
        await node.cleanup()


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    """A room that no other test is in, and has a fine name: it holds brackets and the like."""
    return f"{request.node.name} > *.é 🌳"


async def test_two_people_talk(browser: Browser, serving: str, room: str) -> None:
    async with window(browser, serving) as ann, window(browser, serving) as ben:
        await ann.enter(room, "Ann")
        await ben.enter(room, "Ben")
        await ann.sees_people("Ann", "Ben")
        await ann.say("Hello, Ben!")
        await ben.sees("Hello, Ben!")
        await ben.say("Hello Ann 👋 Grüße")
        await ann.sees("Hello Ann 👋 Grüße")
        for one in (ann, ben):
            names = [(row["name"], row["text"]) for row in await one.said()]
            assert names == [("Ann", "Hello, Ben!"), ("Ben", "Hello Ann 👋 Grüße")]
        assert await ann.page.evaluate("document.querySelectorAll('#log .mine').length") == 1


async def test_who_is_here_is_told_as_it_changes(browser: Browser, serving: str, room: str) -> None:
    async with window(browser, serving) as ann, window(browser, serving) as ben:
        await ann.enter(room, "Ann")
        await ben.enter(room, "Ben")
        await ann.sees_people("Ann", "Ben")
        # A page that is left says goodbye: nobody waits for a timeout.
        await ben.page.goto("about:blank")
        await ann.sees_people("Ann", seconds=5)
        await ann.page.wait_for("document.querySelector('#log').innerText.includes('Ben came and')")


async def test_a_late_comer_reads_what_was_said_before(
    browser: Browser, serving: str, room: str
) -> None:
    async with window(browser, serving) as ann:
        await ann.page.goto(f"{serving}/web/icon.svg")
        await ann.page.evaluate(_SEND % (room, 160))
        await ann.enter(room, "Ann")
        await ann.sees("line 160")
        assert "line 60" not in await ann.texts()
        await ann.page.wait_for(
            "document.querySelector('#scroller').scrollTop = 0,"
            "document.querySelector('#log .bubble').textContent === 'line 1'"
        )
        assert await ann.texts() == [f"line {n}" for n in range(1, 161)]
        await ann.page.wait_for("!document.querySelector('#beginning').hidden")


async def test_typing_is_seen_while_it_lasts(browser: Browser, serving: str, room: str) -> None:
    line = "document.querySelector('#typing').textContent"
    async with window(browser, serving) as ann, window(browser, serving) as ben:
        await ann.enter(room, "Ann")
        await ben.enter(room, "Ben")
        await ann.page.click("#composer textarea")
        await ann.page.type("Hm")
        await ben.page.wait_for(f"{line} === 'Ann is typing…'")
        assert await ann.page.evaluate(line) == ""
        await ann.page.press("Enter")
        await ben.page.wait_for(f"{line} === ''")
        await ben.sees("Hm")


async def test_a_whisper_is_seen_by_its_target_only(
    browser: Browser, serving: str, room: str
) -> None:
    async with (
        window(browser, serving) as ann,
        window(browser, serving) as ben,
        window(browser, serving) as eve,
    ):
        await ann.enter(room, "Ann")
        await ben.enter(room, "Ben Bit")
        await eve.enter(room, "Eve")
        await ann.sees_people("Ann", "Ben Bit", "Eve")
        await ann.say("/w ben bit for you alone")
        await ben.sees("for you alone")
        await ann.page.click("#people li:nth-child(2) button")
        await ann.page.type("and this")
        await ann.page.press("Enter")
        await ben.sees("and this")
        await ann.page.press("Escape")
        await ann.say("for all")
        await eve.sees("for all")
        assert await eve.texts() == ["for all"]
        for one in (ann, ben):
            rows = [(row["text"], row["whisper"]) for row in await one.said()]
            assert rows == [("for you alone", True), ("and this", True), ("for all", False)]


async def test_nobody_to_whisper_to(browser: Browser, serving: str, room: str) -> None:
    async with window(browser, serving) as ann:
        await ann.enter(room, "Ann")
        await ann.say("/w Zoe hello")
        hint = "document.querySelector('#composer .hint').textContent"
        assert await ann.page.evaluate(hint) == "Nobody called “Zoe” is here."
        assert await ann.texts() == []


async def test_what_people_write_is_never_markup(browser: Browser, serving: str, room: str) -> None:
    evil = "<img src=x onerror=alert(1)> javascript:alert(1) see https://example.org/a?b=<c>."
    async with window(browser, serving) as ann, window(browser, serving) as ben:
        await ann.enter(room, "<b>Ann</b>")
        await ben.enter(room, "Ben")
        await ann.say(evil)
        await ben.sees(evil)
        assert await ben.page.evaluate("document.querySelectorAll('#log :is(img, b)').length") == 0
        links = "[...document.querySelectorAll('#log a')].map((a) => [a.href, a.rel, a.target])"
        assert await ben.page.evaluate(links) == [
            ["https://example.org/a?b=", "noopener noreferrer", "_blank"]
        ]


async def test_it_asks_for_a_name_and_remembers_it(
    browser: Browser, serving: str, room: str
) -> None:
    async with window(browser, serving) as ann:
        await ann.page.goto(serving)
        await ann.page.click("#welcome input[name=name]")
        await ann.page.type("Ann")
        await ann.page.press("Enter")
        await ann.sees_people("Ann")
        assert "name=" not in await ann.page.evaluate("location.search")
        user = await ann.page.evaluate("localStorage.getItem('roomful.user.Ann')")
        await ann.page.goto(serving)
        name = "document.querySelector('#welcome input[name=name]').value"
        assert await ann.page.evaluate(name) == "Ann"
        await ann.page.press("Enter")
        await ann.sees_people("Ann")
        assert await ann.page.evaluate("localStorage.getItem('roomful.user.Ann')") == user


async def test_going_to_another_room_and_back(browser: Browser, serving: str, room: str) -> None:
    async with window(browser, serving) as ann:
        await ann.enter(room, "Ann")
        await ann.say("in the lobby")
        await ann.sees("in the lobby")
        await ann.page.click("#room")
        await ann.page.type("garden > *.éß 🌳")
        await ann.page.press("Enter")
        await ann.page.wait_for("document.querySelector('#room-name').innerText.includes('garden')")
        await ann.sees_people("Ann")
        assert await ann.texts() == []
        await ann.say("in the garden")
        await ann.sees("in the garden")
        await ann.page.evaluate("history.back()")
        await ann.sees("in the lobby")
        assert await ann.texts() == ["in the lobby"]


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
async def test_it_looks_right_on_a_phone_and_on_a_desk(
    browser: Browser, serving: str, scheme: str, dark: bool
) -> None:
    async with window(browser, serving) as ann:
        await ann.page.prefer("dark" if dark else "light")
        await ann.page.resize(390, 844, phone=True)
        await ann.enter("a-room-with-quite-a-long-name-that-does-not-fit-on-a-phone", "Ann")
        await ann.say("a" * 300 + " and https://example.org/" + "b" * 200)
        await ann.say("short")
        await ann.sees("short")
        assert not await ann.overflows()
        await _shows_something(browser, await ann.page.screenshot(), dark)
        await ann.page.click("#people-toggle")
        await ann.page.wait_for(
            "getComputedStyle(document.querySelector('#people')).transform == 'none'"
        )
        await ann.page.press("Escape")
        await ann.page.wait_for(
            "!document.querySelector('#people').checkVisibility({visibilityProperty: true})"
        )
        await ann.page.resize(1200, 760)
        assert not await ann.overflows()
        await _shows_something(browser, await ann.page.screenshot(), dark)


async def _shows_something(browser: Browser, png: bytes, dark: bool) -> None:
    colours, brightness = await browser.look(png)
    assert colours > 50
    assert brightness < 110 if dark else brightness > 150


async def test_two_windows_in_one_order(browser: Browser, serving: str, room: str) -> None:
    async with window(browser, serving) as ann, window(browser, serving) as ben:
        await ann.enter(room, "Ann")
        await ben.enter(room, "Ben")
        for n in range(5):
            await asyncio.gather(ann.say(f"ann {n}"), ben.say(f"ben {n}"))
        for one in (ann, ben):
            await one.sees("ann 4")
            await one.sees("ben 4")
        assert await ann.texts() == await ben.texts()
        assert len(await ann.texts()) == 10
