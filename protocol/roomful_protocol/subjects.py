"""Every subject of the broker, built and parsed in one place.

`rf` stands for the configurable prefix. <p> is a partition, <s> a stream's number, and names are
tokens (`ids.token`), so each subject has a fixed number of parts.
"""

from dataclasses import dataclass
from typing import Final

from roomful_protocol.ids import NodeId, Partition, RoomName, SessionId, UserId, partition_of, token

STREAMS: Final = 4
"""Few, so that what is appended at about the same time shares what a stream does for it: its raft
messages and its syncs. Four still spread over three servers."""


def stream_of(partition: Partition) -> int:
    """The stream that stores a partition's rooms. Fencing and leases never depend on it."""
    return partition % STREAMS


@dataclass(frozen=True, slots=True)
class Subjects:
    """The subjects of one cluster; two clusters with different prefixes may share a broker."""

    prefix: str = "rf"

    def log(self, room: RoomName) -> str:
        p = partition_of(room)
        return f"{self.prefix}.log.{stream_of(p)}.{p}.{token(room)}"

    def event(self, room: RoomName) -> str:
        """Where the broker republishes what `log` has stored."""
        return f"{self.prefix}.evt.{partition_of(room)}.{token(room)}"

    def live(self, room: RoomName) -> str:
        """The ephemeral lane and the head beacon of a room."""
        return f"{self.prefix}.live.{partition_of(room)}.{token(room)}"

    def archive(self, room: RoomName, key: str) -> str:
        """A snapshot or a page of history; `key` is one token."""
        p = partition_of(room)
        return f"{self.prefix}.arc.{stream_of(p)}.{p}.{token(room)}.{key}"

    def commands(self, node: NodeId) -> str:
        """Commands for the rooms that `node` owns, packed by the sending node per loop turn."""
        return f"{self.prefix}.node.{node}.cmd"

    def answers(self, node: NodeId) -> str:
        """Answers to the commands that `node` has sent."""
        return f"{self.prefix}.node.{node}.ans"

    def bounced(self, node: NodeId, batch: str) -> str:
        """Where the broker says that a batch of commands found nobody; `*` to hear them all."""
        return f"{self.prefix}.node.{node}.bnc.{batch}"

    def ping(self, node: NodeId) -> str:
        return f"{self.prefix}.node.{node}.ping"

    def probed(self, node: NodeId, other: NodeId) -> str:
        """Where the broker says that a ping of `node` to `other` found nobody."""
        return f"{self.prefix}.node.{node}.prb.{other}"

    def inbox(self, node: NodeId, request: str) -> str:
        """Where the broker says that a message of `node` found nobody; `*` to hear them all."""
        return f"{self.prefix}.node.{node}.inb.{request}"

    def reached(self, node: NodeId) -> str:
        """How many connections messages of `node` have reached, packed by the node that holds
        these per loop turn."""
        return f"{self.prefix}.node.{node}.rch"

    def roll(self) -> str:
        """Where a node calls on all others to say that they have heard what it has sent before."""
        return f"{self.prefix}.roll"

    def user(self, user: UserId) -> str:
        """Messages for every connection of a user; nodes listen while they hold one."""
        return f"{self.prefix}.user.{token(user)}"

    def session(self, home: NodeId, session: SessionId) -> str:
        """Messages for one session; its home node listens to all of its own with `*`."""
        return f"{self.prefix}.conn.{home}.{session}"

    def directory(self, key: str) -> str:
        return f"{self.prefix}.dir.{key}"

    def directory_change(self, key: str) -> str:
        """Where the broker republishes changes (and expiries) of the directory."""
        return f"{self.prefix}.direvt.{key}"
