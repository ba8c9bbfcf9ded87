"""Is this a node that a newcomer can use? Ready, its page there, a message said and heard."""

import asyncio
import sys
import time
from urllib.request import urlopen

from roomful_client import Client, Message

READY_S = 20.0


def wait_until_ready(url: str) -> None:
    """Raises OSError when the node does not say so in time."""
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


def page(url: str) -> str:
    with urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())


async def chat(url: str) -> None:
    async with Client(url, user="smoke") as client, asyncio.timeout(20):
        room = await client.join("smoke")
        ack = await room.send("chat.message", {"text": "is anybody there?"})
        async for event in room:
            if isinstance(event, Message) and event.seq == ack.seq:
                return


def main(url: str) -> None:
    wait_until_ready(url)
    if "<!doctype html>" not in page(url).lower():
        raise SystemExit("smoke: / is no page")
    asyncio.run(chat(url))
    sys.stdout.write("smoke: ready, page served, message said and heard\n")


main(sys.argv[1])
