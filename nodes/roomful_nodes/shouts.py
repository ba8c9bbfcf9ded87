"""What the rooms of this node say on the ephemeral lane, and how far they are.

Members here hear it at once. To other nodes it goes at the end of the loop's turn, all that a room
has said in it in one message.
"""

from collections.abc import Callable

from roomful_nodes.batches import Batches, in_parts
from roomful_nodes.bus import Bus
from roomful_nodes.hub import Hub
from roomful_protocol.blocks import Entry
from roomful_protocol.codecs.internode import pack_live
from roomful_protocol.ids import RoomName
from roomful_protocol.messages import Live
from roomful_protocol.subjects import Subjects


class Shouts:
    """`others` tells how many other nodes live."""

    def __init__(self, bus: Bus, subjects: Subjects, hub: Hub, others: Callable[[], int]) -> None:
        self._bus, self._subjects, self._hub, self._others = bus, subjects, hub, others
        self._said: Batches[RoomName, Entry] = Batches(self._send)

    def say(self, room: RoomName, live: Live) -> None:
        """Have `live` heard by the room's members, wherever they are."""
        self._hub.hear_live(room, live)
        if self._others():
            for entry in live.entries:
                self._said.add(room, entry)

    def tell_head(self, room: RoomName, head: int, elsewhere: bool) -> None:
        """Have the feeds of `room` hear how far it is, by which they find what they have missed.
        `elsewhere`: whether it has, or had, members on other nodes: else nobody listens."""
        live = Live(head=head)
        self._hub.hear_live(room, live)
        if elsewhere:
            # Even if no other node is known: the room knows better.
            self._bus.publish(self._subjects.live(room), pack_live(live))

    def _send(self, room: RoomName, entries: list[Entry]) -> None:
        subject = self._subjects.live(room)
        for _, payload in in_parts(entries, _packed):
            self._bus.publish(subject, payload)


def _packed(entries: list[Entry]) -> bytes:
    return pack_live(Live(tuple(entries)))
