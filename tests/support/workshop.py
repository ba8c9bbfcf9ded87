"""A room that does what it is told, in every way that can go wrong."""

import asyncio

from roomful_protocol.errors import Code, Refused
from roomful_rooms.draft import TURN_BYTES
from roomful_rooms.room import Message, Room, on


class Workshop(Room):
    """Begins something, and then fails in the way that the message names."""

    capacity = 3

    @on("do.*")
    def refuse_all(self, message: Message) -> None:
        raise Refused(Code.FORBIDDEN, f"No {message.type}.")

    @on("do.say")
    def say(self, message: Message) -> None:
        self.relay(message)

    @on("do.count")
    def count(self, message: Message) -> None:
        self.state["count"] = self.state.get("count", 0) + 1
        self.reply(self.state["count"])

    @on("do.fail")
    def fail(self, message: Message) -> None:
        self._begin(message)
        raise RuntimeError("a bug")

    @on("do.unstorable")
    def unstorable(self, message: Message) -> None:
        self._begin(message)
        self.state["bad"] = object()

    @on("do.unshowable")
    def unshowable(self, message: Message) -> None:
        self._begin(message)
        self.broadcast("ok.first")
        self.broadcast("bad.second", float)

    @on("do.unanswerable")
    def unanswerable(self, message: Message) -> None:
        self._begin(message)
        self.reply(object())

    @on("do.too_much")
    def too_much(self, message: Message) -> None:
        self._begin(message)
        self.broadcast("big.thing", "x" * (TURN_BYTES + 1), ephemeral=message.data == "ephemeral")

    @on("do.refuse_badly")
    def refuse_badly(self, message: Message) -> None:
        raise Refused("forbidden", None)  # type: ignore[arg-type]

    @on("do.refuse_oddly")
    def refuse_oddly(self, message: Message) -> None:
        raise Refused(Code.FORBIDDEN, "odd \ud800 " + "x" * 5000)

    @on("do.slow")
    async def slow(self, message: Message) -> None:
        self._begin(message)
        await asyncio.sleep(message.data)
        self.relay(message)

    @on("do.slow_failure")
    async def slow_failure(self, message: Message) -> None:
        self._begin(message)
        await asyncio.sleep(message.data)
        raise RuntimeError("a late bug")

    @on("do.own_timeout")
    async def own_timeout(self, message: Message) -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(1)

    @on("do.cancelled_inside")
    async def cancelled_inside(self, message: Message) -> None:
        self._begin(message)
        inner = asyncio.get_running_loop().create_future()
        inner.cancel()
        await inner

    @on("do.cancelled_at_once")
    def cancelled_at_once(self, message: Message) -> None:
        self._begin(message)
        inner = asyncio.get_running_loop().create_future()
        inner.cancel()
        inner.result()

    def _begin(self, message: Message) -> None:
        self.state["draft"] = message.data
        self.broadcast("begun.it", message.data)
        self.reply("begun")


DOES_NOT_HAPPEN = [
    "fail", "unstorable", "unshowable", "unanswerable", "too_much", "own_timeout",
    "cancelled_inside", "cancelled_at_once", "refuse_badly",
]  # fmt: skip
