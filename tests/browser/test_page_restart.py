"""The chat page while its only node goes away and comes back, as people talk on."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Literal

import pytest
from tests.support.browser import Browser
from tests.support.chat_window import ChatWindow, window
from tests.support.cluster import NodeProcess, until

AWAY_S = 30.0
COUNT = 150

_CLIENT = """import('/web/roomful.js').then(({Roomful}) => {
  const client = Roomful.connect('/ws', {name: '%s', user: '%s'});
  window.room = client.join('stream', 0);
  window.heard = [];
  window.gaps = [];
  room.on('message', (event) => heard.push([event.seq, event.data]));
  room.on('gap', (gap) => gaps.push(gap));
  return room.ready.then(() => true);
})"""
_STREAM = f"""new Promise((resolve, reject) => {{
  const acks = [];
  const one = () => {{
    acks.push(room.send('test.number', acks.length + 1));
    if (acks.length < {COUNT}) return setTimeout(one, 20);
    Promise.all(acks).then((all) => resolve(all.map((ack) => ack.seq)), reject);
  }};
  one();
}})"""


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[NodeProcess]:
    node = NodeProcess(tmp_path, "--data-dir", str(tmp_path / "data"))
    try:
        yield await node.start()
    finally:
        await node.cleanup()


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_a_restart_costs_nobody_a_message(
    browser: Browser, node: NodeProcess, end: Literal["kill", "stop"]
) -> None:
    async with window(browser, node.url) as ann, window(browser, node.url) as ben:
        await ann.enter("lobby", "Ann")
        await ben.enter("lobby", "Ben")
        for n in range(3):
            await ann.say(f"ann {n}")
            await ben.say(f"ben {n}")
        # Whether this one was written before the end, nobody has been told yet.
        await ann.say("at the last moment")
        await (node.kill() if end == "kill" else node.stop())
        await _talk_into_the_void(ann, ben)
        await node.start()
        for one in (ann, ben):
            await one.sees_state("open", AWAY_S)
            for text in ("at the last moment", "ann, meanwhile", "ben, meanwhile"):
                await one.sees(text, AWAY_S)
        await ann.say("afterwards")
        await ben.sees("afterwards")
        texts = await ann.texts()
        assert texts == await ben.texts()
        assert len(texts) == len(set(texts)) == 10
        # An event may be shown a moment before its ack.
        await until(partial(_all_sent, ann, ben), "every message is marked as sent")
        await ann.sees_people("Ann", "Ben")


async def _talk_into_the_void(ann: ChatWindow, ben: ChatWindow) -> None:
    for one, text in ((ann, "ann, meanwhile"), (ben, "ben, meanwhile")):
        await one.sees_state("reconnecting")
        await one.say(text)
        await one.sees(text, fate="pending")


async def test_a_stream_through_a_kill_is_heard_once_and_in_order(
    browser: Browser, node: NodeProcess
) -> None:
    icon = f"{node.url}/web/icon.svg"
    async with browser.page(icon) as ann, browser.page(icon) as ben:
        for page, name in ((ann, "ann"), (ben, "ben")):
            await page.evaluate(_CLIENT % (name, name))
        acks = asyncio.create_task(ann.evaluate(_STREAM), name="stream")
        await ben.wait_for(f"heard.length > {COUNT // 4}")
        await node.kill()
        await node.start()
        seqs = await asyncio.wait_for(acks, AWAY_S)
        for page in (ann, ben):
            await page.wait_for(f"heard.length >= {COUNT}")
            heard = [tuple(event) for event in await page.evaluate("heard")]
            assert heard == list(zip(seqs, range(1, COUNT + 1), strict=True))
            assert await page.evaluate("gaps") == []


async def _all_sent(*windows: ChatWindow) -> bool:
    fates = {row["fate"] for one in windows for row in await one.said()}
    return fates == {"sent"}
