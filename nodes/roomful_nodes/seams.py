"""What a node stands on: the broker's four faces, real or in memory."""

from dataclasses import dataclass, field

from roomful_nodes.bus import Bus
from roomful_protocol.frames import Durability
from roomful_protocol.subjects import Subjects
from roomful_rooms.clock import Clock, NewId
from roomful_rooms.directory import Conflict, Directory
from roomful_rooms.log import Archive, Log

SIGNING = "signing"


@dataclass(frozen=True, slots=True)
class Seams:
    """One node's hold on the broker, on time and on chance. Simulations pass memory twins.

    `durability`: what the broker is known to keep. `incarnation`: the name of its store since it
    may last have forgotten something; "" if that never was or is not known.
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
