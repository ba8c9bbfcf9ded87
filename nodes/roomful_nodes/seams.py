"""What a node stands on: the broker's four faces, real or in memory."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from roomful_nodes.bus import Bus
from roomful_protocol.frames import Durability
from roomful_protocol.subjects import Subjects
from roomful_rooms.clock import Clock, NewId
from roomful_rooms.directory import Conflict, Directory
from roomful_rooms.log import Archive, Log

SIGNING = "signing"


async def _nothing_to_ask() -> None:
    """Where there are no connections that could hang."""


@dataclass(frozen=True, slots=True)
class Seams:
    """One node's hold on the broker, on time and on chance. Simulations pass memory twins.

    `durability`: what the broker is known to keep. `incarnation`: the name of its store since it
    may last have forgotten something; "" if that never was or is not known.
    `sound` returns when the broker has answered on every connection, and raises Unavailable if one
    of them is closed for good: a connection may hang for long before anything else shows it.
    """

    log: Log
    archive: Archive
    directory: Directory
    bus: Bus
    subjects: Subjects
    clock: Clock
    new_id: NewId
    durability: Durability = field(default_factory=Durability)
    incarnation: str = ""
    sound: Callable[[], Awaitable[None]] = _nothing_to_ask


async def cluster_key(seams: Seams) -> bytes:
    """The key under which all nodes of the cluster sign sessions: made once, kept in the broker.

    Raises Unavailable.
    """
    while True:
        known = (await seams.directory.items()).get(SIGNING)
        if known is not None and known.value:
            return known.value
        try:
            key = (seams.new_id() + seams.new_id() + seams.new_id()).encode()
            await seams.directory.put(SIGNING, key, 0)
        except Conflict:
            continue
