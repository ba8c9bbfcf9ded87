"""Is this a node that a newcomer can use? Ready, its page there, a message said and heard."""

import asyncio
import sys
import time
from urllib.request import urlopen

from roomful_client import Client

READY_S = 20.0


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            with urlopen(f"{url}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


async def chat(url: str) -> None:
    async with Client(url, user="smoke") as client:
        room = await client.join("smoke")
        ack = await room.send("chat.message", {"text": "is anybody there?"})
        async for event in room:
            if event.seq == ack.seq:
                return


wait_until_ready(sys.argv[1])
with urlopen(sys.argv[1], timeout=5) as page:
    assert b"<!doctype html>" in page.read().lower()
asyncio.run(asyncio.wait_for(chat(sys.argv[1]), 20))
print("smoke: ready, page served, message said and heard")
