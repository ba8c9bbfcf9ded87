"""What all conversations of a node share."""

import asyncio
from dataclasses import asdict, dataclass, field
from typing import Final, Protocol

from roomful_nodes import history
from roomful_nodes.auth import Authenticator
from roomful_nodes.hub import Hub
from roomful_nodes.membership import Lane
from roomful_nodes.metrics import Metrics
from roomful_nodes.targets import Targets
from roomful_protocol.codecs.events import greeting
from roomful_protocol.frames import Durability, Limits
from roomful_protocol.ids import NodeId, RoomName
from roomful_protocol.messages import Sender
from roomful_rooms.clock import Clock, NewId
from roomful_rooms.tasks import Tasks

PROTOCOL: Final = 1
"""The version of the wire protocol."""


class Asks(history.Asks, Protocol):
    """The way to the owners of rooms, for clients."""

    def lane(self, room: RoomName, sender: Sender) -> Lane:
        """A fresh numbering for one attachment of a session to one room."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the node that they need, and its settings that concern them.

    `life` tells this process from others of the node's name.
    """

    node: NodeId
    life: str
    asks: Asks
    hub: Hub
    targets: Targets
    authenticator: Authenticator
    limits: Limits
    heartbeat_s: float
    clock: Clock
    new_id: NewId
    loop: asyncio.AbstractEventLoop
    tasks: Tasks
    metrics: Metrics
    durability: Durability = field(default_factory=Durability)
    greeting: bytes = field(init=False)
    """What `hello` tells every client, for `hello_frame`."""

    def __post_init__(self) -> None:
        shared = {
            "protocol": PROTOCOL,
            "node": self.node,
            "heartbeat_s": self.heartbeat_s,
            "limits": asdict(self.limits),
            "durability": asdict(self.durability),
        }
        object.__setattr__(self, "greeting", greeting(shared))
