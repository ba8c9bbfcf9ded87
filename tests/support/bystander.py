"""A well-behaved client beside others that are not: it must not notice them."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.support.wire import Wire

T = TypeVar("T")

PAUSE_S = 0.03
NOTICED_S = 6.0
"""Far more than it ever takes; a machine that is busy with other things is slow, too."""


async def undisturbed(url: str, beside: Coroutine[Any, Any, T], room: str = "beside") -> T:
    """What comes of `beside`, while somebody in `room` goes on talking as if nothing were."""
    ann = await Wire.open(url, room=room, user="bystander")
    await ann.next("joined")
    doing = asyncio.ensure_future(beside)
    try:
        count = 0
        while not doing.done():
            count += 1
            said = {"type": "chat.message", "room": room, "data": {"text": str(count)}}
            ack = await ann.ask(said, NOTICED_S)
            assert ack["type"] == "ack", ack
            await asyncio.wait([doing], timeout=PAUSE_S)
        await ann.where(NOTICED_S, type="chat.message", data__text=str(count))
        assert ann.texts(room) == [str(n + 1) for n in range(count)]
        return await doing
    finally:
        doing.cancel()
        await asyncio.wait([doing])
        await ann.close()
