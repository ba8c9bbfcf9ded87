"""People who chat while a fault strikes, and what must be true of all of them afterwards."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from tests.support.chatter import Chatter
from tests.support.checks import check_acked_once, check_contiguous
from tests.support.cluster import NodeProcess, until
from tests.support.wire import Json, Wire

NAMES = ("ann", "bob", "cid")
SAYINGS = 60

Fault = Callable[[], Awaitable[object]]


class Party:
    """Chatters of one room, spread over `nodes`."""

    def __init__(self, nodes: Sequence[NodeProcess], room: str = "lobby") -> None:
        self.room = room
        self.nodes = list(nodes)
        turned = [self.nodes[i % len(nodes) :] + self.nodes[: i % len(nodes)] for i in range(3)]
        self.chatters = [
            Chatter(name, room, order) for name, order in zip(NAMES, turned, strict=True)
        ]

    async def gather(self) -> None:
        """All of them come in."""
        for chatter in self.chatters:
            await chatter.connect()

    async def talk(self, fault: Fault, sayings: int = SAYINGS, within_s: float = 30.0) -> None:
        """Everybody says `sayings` things; `fault` strikes after a third of them. Each must be
        acknowledged within `within_s`."""
        begun = asyncio.Event()

        async def speak(chatter: Chatter) -> None:
            first = len(chatter.acked)
            for number in range(first, first + sayings):
                await chatter.say(f"{chatter.name} {number}", within_s)
                if number - first == sayings // 3:
                    begun.set()

        async def strike() -> None:
            await begun.wait()
            await fault()

        async with asyncio.TaskGroup() as group:
            group.create_task(strike(), name="fault")
            for chatter in self.chatters:
                group.create_task(speak(chatter), name=chatter.name)

    async def check(self, reader: NodeProcess) -> None:
        """All acknowledged is in the log once; everybody heard the whole log, in its order."""
        witness = await Wire.open(reader.url, room=self.room, since=0, user="witness")
        try:
            joined = await witness.where(type="joined", room=self.room)
            head = joined["data"]["seq"]
            await until(lambda: len(witness.events(self.room)) >= head, f"the log up to {head}")
        finally:
            await witness.close()
        log = witness.events(self.room)
        check_contiguous(log, 0)
        texts = witness.texts(self.room)
        for chatter in self.chatters:
            check_acked_once(texts, chatter.acked)
            said = [text for text in texts if text.startswith(f"{chatter.name} ")]
            assert said == [f"{chatter.name} {number}" for number in range(len(chatter.acked))]
            await self._check_heard(chatter, log)

    async def _check_heard(self, chatter: Chatter, log: list[Json]) -> None:
        """It is told all there is, over the connection that it has."""
        await chatter.be_connected()
        head = log[-1]["seq"]

        def caught_up() -> bool:
            chatter.collect()
            return bool(chatter.last >= head)

        await until(caught_up, f"{chatter.name} hears up to {head}")
        assert not chatter.gaps
        check_contiguous(chatter.heard, chatter.start_seq)
        mine = {event["seq"]: event["data"] for event in chatter.heard}
        assert all(mine.get(event["seq"], event["data"]) == event["data"] for event in log)

    @property
    def stayed(self) -> bool:
        """Whether nobody's socket was ever lost."""
        return all(chatter.connections == 1 for chatter in self.chatters)

    async def leave(self) -> None:
        for chatter in self.chatters:
            await chatter.close()
