"""A client's socket to a node, without a network: slow, cut, or half open as the test likes.

What the node writes is taken at the client's pace; until then it waits in the node's write buffer.
What either sends arrives in order, unless the socket is cut: then each side finds out in its own
time.
"""

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, Protocol

from tests.simulation.network import DELAY_S
from tests.simulation.timeline import Loop, Timeline
from tests.support.sockets import frames_in

from roomful_nodes.conversation import Conversation
from roomful_nodes.node import Node
from roomful_nodes.outbox import Outbox
from roomful_protocol.codecs import JSON
from roomful_protocol.codecs.json import loads
from roomful_protocol.errors import Close

NOTICED_S: Final = 2.0
"""So late at most either side finds out that a socket has ended."""

Json = dict[str, Any]


class Door(Protocol):
    """Where clients come in: a node that runs in a loop, once it does."""

    loop: Loop
    sockets: "set[Socket]"

    @property
    def node(self) -> Node | None: ...


class Socket:
    """Both ends. `heard` gets each frame, `ended` the close code (None: it broke), once."""

    def __init__(
        self,
        timeline: Timeline,
        chance: Random,
        people: Loop,
        machine: "Door",
        number: int,
        *,
        heard: Callable[[Json], None],
        ended: Callable[[int | None], None],
    ) -> None:
        self.number = number
        self.pace: float | None = None
        """Bytes a second that the client takes; None: all at once."""
        self._timeline, self._die, self._people = timeline, chance, people
        self._heard, self._ended = heard, ended
        self._door, self._node = machine, machine.loop
        self._conversation: Conversation | None = None
        self._outbox: Outbox | None = None
        self._unread: deque[tuple[float, bytes]] = deque()
        self._waiting = 0
        self._taking = False
        self._reading = True
        self._held: list[bytes | None] = []
        self._broken = self._told_client = self._told_node = False
        self._closing: Close | None = None
        self._out_at = self._back_at = 0.0

    # -- the network -------------------------------------------------------------------------------

    def _arrival(self, free_at: float) -> float:
        return max(self._timeline.now + self._die.uniform(*DELAY_S), free_at)

    def connect(self, query: Sequence[tuple[str, str]]) -> None:
        """Open it; a node that is not there, or goes down, refuses."""
        self._back_at = self._arrival(0)
        self._timeline.later(self._back_at - self._timeline.now, lambda: self._knock(query))

    def _knock(self, query: Sequence[tuple[str, str]]) -> None:
        if self._node.stopped:
            self._tell_client(None)
        else:
            self._node.call_soon(self._accept, query)

    def _accept(self, query: Sequence[tuple[str, str]]) -> None:
        """At the node: what the entrance does with a request."""
        node = self._door.node
        if self._broken or node is None or node.gateway.draining:
            self._end_of_client(None)
            return
        self._door.sockets.add(self)
        self._outbox = Outbox(self, JSON, self._close)
        self._conversation = node.gateway.begin(query, self._outbox, lambda: "simulated")

    def _end_of_client(self, close: Close | None) -> None:
        """The client finds out, after all that was written before."""
        self._unread.append((0.0, b""))
        self._closing = close
        self._take()

    def cut(self) -> None:
        """It breaks: what is under way is lost."""
        if self._broken:
            return
        self._broken = True
        self._unread.clear()
        self._timeline.later(self._die.random() * NOTICED_S, lambda: self._tell_client(None))
        self._timeline.later(self._die.random() * NOTICED_S, self._tell_node)

    def vanish(self) -> None:
        """The node has died: the client finds out soon, the node never."""
        if not self._broken:
            self._broken = self._told_node = True
            self._unread.clear()
            self._timeline.later(
                self._die.random() * NOTICED_S / 4, lambda: self._tell_client(None)
            )

    def _tell_client(self, code: int | None) -> None:
        if not self._told_client:
            self._told_client = True
            self._people.call_soon(self._ended, code)

    def _tell_node(self) -> None:
        if not self._told_node and not self._node.stopped:
            self._told_node = True
            self._node.call_soon(self._gone)

    def _gone(self) -> None:
        if self._conversation is not None:
            conversation, self._conversation = self._conversation, None
            node = self._door.node
            assert node is not None
            node.gateway.end(conversation)
        self._door.sockets.discard(self)

    # -- the client's end --------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Say something; nobody tells whether it arrives."""
        self._pass(data)

    def _pass(self, data: bytes | None) -> None:
        """`data` to the node; None: a pong."""
        if self._broken:
            return
        self._back_at = self._arrival(self._back_at)
        self._timeline.later(self._back_at - self._timeline.now, lambda: self._reach_node(data))

    def _reach_node(self, data: bytes | None) -> None:
        if not self._broken and not self._node.stopped:
            self._node.call_soon(self._receive, data)

    def _receive(self, data: bytes | None) -> None:
        """At the node."""
        if not self._reading:
            self._held.append(data)
        elif self._conversation is not None and not self._broken:
            if data is None:
                self._conversation.alive()
            else:
                self._conversation.hear()
                self._conversation.receive(data, text=True)
                self._conversation.look()

    # -- the node's end: a Transport ---------------------------------------------------------------

    def write(self, data: bytes, /) -> None:
        if self._told_node or self._closing is not None:
            raise RuntimeError("the transport is closed")
        if self._broken or not data:
            return
        self._unread.append((self._timeline.now + self._die.uniform(*DELAY_S), data))
        self._waiting += len(data)
        self._take()

    def get_write_buffer_size(self) -> int:
        return self._waiting

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        held, self._held = self._held, []
        for data in held:
            self._reach_node(data)

    def _close(self) -> None:
        """The node wants it closed: its reader stops in the next turn."""
        self._node.call_soon(self._closed)

    def _closed(self) -> None:
        assert self._outbox is not None
        self._gone()
        self._told_node = True
        self._end_of_client(self._outbox.close)

    def _take(self) -> None:
        """The client's machine takes what is there, in order."""
        if self._taking or not self._unread:
            return
        self._taking = True
        at, data = self._unread[0]
        self._out_at = max(at, self._out_at, self._timeline.now)
        if self.pace is not None:
            self._out_at += len(data) / self.pace
        self._timeline.later(self._out_at - self._timeline.now, self._taken)

    def _taken(self) -> None:
        self._taking = False
        if self._broken or not self._unread:
            return
        _, data = self._unread.popleft()
        self._waiting -= len(data)
        if not data:
            self._broken = True
            self._tell_client(self._closing.code if self._closing else None)
            return
        for opcode, payload in frames_in(data):
            if opcode == 9:
                self._pass(None)
            else:
                self._people.call_soon(self._heard, loads(payload))
        self._take()
