"""Rooms that tell on the actor which runs them: whatever they count, the log must bear out."""

import asyncio
from typing import Final

from roomful.check.content import FAREWELL
from roomful_protocol.blocks import Member
from roomful_rooms.room import ChatRoom, Message, on

COUNT: Final = "check.count"
SLOWLY: Final = "check.slowly"
FAIL: Final = "check.fail"
PAUSE_S: Final = 0.01


class CheckRoom(ChatRoom):
    """A chat room that counts, at once and slowly, fails on request, and tells of who leaves."""

    rooms = "check-*"

    @on(COUNT)
    def count(self, message: Message) -> None:
        self._tell("check.counted", message)

    @on(SLOWLY)
    async def count_slowly(self, message: Message) -> None:
        before = self.state.get("check.slow", 0)
        await asyncio.sleep(PAUSE_S)
        # If another handler ran meanwhile, two events tell the same tally.
        self.state["check.slow"] = before
        self._tell("check.slow", message)

    @on(FAIL)
    def fail(self, message: Message) -> None:
        self._tell("check.counted", message)
        raise RuntimeError("This handler fails on purpose.")

    def on_leave(self, member: Member, reason: str) -> None:
        self.state[FAREWELL] = tally = self.state.get(FAREWELL, 0) + 1
        self.broadcast(FAREWELL, {"about": member.session, "reason": reason, "tally": tally})

    def _tell(self, type: str, message: Message) -> None:
        """Count one more of `type`, and tell how many there are."""
        self.state[type] = tally = self.state.get(type, 0) + 1
        self.broadcast(type, {"key": message.data["key"], "tally": tally})
        self.reply({"tally": tally})
