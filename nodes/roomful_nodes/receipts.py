"""How many connections messages of other nodes have reached here, told at the end of the turn.

A node that calls the roll wants to hear from every other one that it has heard all that was sent
before: it hears so after what was reached by that, as all of it goes the same way, in order.
"""

from roomful_nodes.batches import Batches, in_parts
from roomful_nodes.bus import Bus, Message
from roomful_protocol.codecs.internode import pack_reached, unpack_roll
from roomful_protocol.ids import NodeId
from roomful_protocol.messages import Receipt
from roomful_protocol.subjects import Subjects
from roomful_rooms.log import Following


class Receipts:
    """What this node tells the others of their messages."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self._bus, self._subjects = bus, subjects
        self._given: Batches[NodeId, Receipt] = Batches(self._tell)
        self._rolls: Following | None = None

    async def start(self) -> None:
        """Answer when the roll is called. Returns when the broker knows."""
        self._rolls = await self._bus.subscribe(self._subjects.roll(), self._hear_roll)

    async def close(self) -> None:
        if self._rolls is not None:
            await self._rolls.close()

    def give(self, node: NodeId, request: str, count: int) -> None:
        """Tell `node` that its message `request` has reached `count` connections."""
        self._given.add(node, (request, count))

    def _hear_roll(self, message: Message) -> None:
        node, roll = unpack_roll(message.payload)
        self._given.add(node, (roll, None))

    def _tell(self, node: NodeId, given: list[Receipt]) -> None:
        for _, payload in in_parts(given, pack_reached):
            self._bus.publish(self._subjects.reached(node), payload)
