"""Whole nodes in this process, on the memory twins: real sockets, no broker."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import Any
from uuid import uuid4

from tests.support.cluster import until

from roomful_nodes.memory_bus import BusSwitch, MemoryBus
from roomful_nodes.node import Node
from roomful_nodes.seams import Seams
from roomful_nodes.settings import NodeSettings
from roomful_nodes.site import serving
from roomful_protocol.subjects import Subjects
from roomful_rooms.clock import Clock
from roomful_rooms.kinds import Kinds
from roomful_rooms.memory_directory import DirectoryStore, MemoryDirectory
from roomful_rooms.memory_link import Link
from roomful_rooms.memory_log import LogStore, MemoryArchive, MemoryLog

CLOCK = Clock(time.monotonic, lambda: time.time_ns() // 10**6)


class MemoryCluster:
    """What the nodes of one cluster share. `links` cut a node from it, by the node's id."""

    def __init__(self, kinds: Kinds | None = None) -> None:
        self.kinds = kinds or Kinds()
        self.links: dict[str, Link] = {}
        self._store, self._switch = LogStore(), BusSwitch()
        self._directory = DirectoryStore(CLOCK)
        self._numbers = count(1)

    @asynccontextmanager
    async def node(self, **settings: Any) -> AsyncIterator["MemoryNode"]:
        """A node in a cluster whose partitions all have owners, though it may not call itself ready
        yet: it would probe others first."""
        id = f"n{next(self._numbers)}"
        link = self.links[id] = Link()
        seams = Seams(
            log=MemoryLog(self._store, link),
            archive=MemoryArchive(self._store, link),
            directory=MemoryDirectory(self._directory, link),
            bus=MemoryBus(self._switch, link),
            subjects=Subjects(),
            clock=CLOCK,
            new_id=lambda: uuid4().hex,
        )
        given = replace(NodeSettings(port=0, node_id=id, grace_s=0.2), **settings)
        async with serving(given, self.kinds, seams) as node:
            await until(lambda: node._cluster.settled, "settled", every_s=0.005)
            yield MemoryNode(node)


class MemoryNode:
    """A running node and where it is."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.gateway = node.gateway
        self.hub = node._hub
        host, port = node.listening
        self.url = f"http://{host}:{port}"
