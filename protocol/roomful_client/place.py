"""One room as a client has it: how far it has heard, who is there, what waits to be read.

A room's log numbers its events. The client remembers the last number it took, and so notices a
double (dropped), a hole (it joins again from there) and what is lost for good (`Gap`).
"""

from collections import deque
from typing import Any, Final

from roomful_client.errors import RoomfulError
from roomful_client.events import Event, Frame, Gap, Person, Presence, event_of, people
from roomful_client.pace import Chance, full_jitter

HEALINGS: Final = 3
"""Joins that led to the same hole again, before it is taken for a gap."""
_REJOIN_S: Final = (0.5, 15.0)
_PASSING: Final = frozenset({"busy", "rate_limited", "unavailable"})


class Place:
    """The sans-I/O state of one room.

    `joined`: the node has us in it. `listening`: events are taken; after a hole, and while the
    inbox was full, they are not, until a new join tells them again. `wants_join`: a join is due,
    at `not_before`. `ending`: why it is over. `followed`: somebody reads the inbox.
    """

    def __init__(
        self, name: str, since: int | str, epoch: str | None, capacity: int, chance: Chance
    ) -> None:
        self.name = name
        self.position = since if isinstance(since, int) else None
        self.epoch = epoch
        self.inbox: deque[Event] = deque()
        self.members: dict[str, Person] = {}
        self.count = 0
        self.joined = self.listening = self.followed = False
        self.wants_join = True
        self.not_before = 0.0
        self.ending: RoomfulError | None = None
        self._since, self._capacity, self._chance = since, capacity, chance
        self._parked = self._entered = False
        self._join_id: str | None = None
        self._listed_at = 0
        self._refusals = self._healings = 0

    @property
    def full(self) -> bool:
        return len(self.inbox) >= self._capacity

    def join(self, id: str) -> dict[str, object]:
        """The frame that asks for everything after what was taken last."""
        self.wants_join = self.listening = False
        self._join_id = id
        since = self._since if self.position is None else self.position
        frame: dict[str, object] = {"type": "join", "id": id, "room": self.name, "since": since}
        return frame if self.epoch is None else {**frame, "epoch": self.epoch}

    def lost(self) -> None:
        """The connection is gone: until the next `joined`, nothing is taken and nothing is sent."""
        self.joined = self.listening = False
        # Also with an inbox that is full: what is sent to a room needs the membership.
        self.wants_join, self._parked = True, False
        self.not_before = 0.0
        self._join_id = None

    def take(self) -> Event:
        """The next event. An inbox that was too full for more asks for the rest when there is room.

        Raises IndexError if there is none.
        """
        event = self.inbox.popleft()
        if self._parked and len(self.inbox) <= self._capacity // 2:
            self._parked, self.wants_join = False, True
        return event

    def end(self, error: RoomfulError) -> None:
        self.joined = self.listening = self.wants_join = False
        self.members.clear()
        self.ending = error

    def hear(self, frame: Frame, now: float) -> None:
        """A frame of this room that answers no request but a join."""
        ours = self._join_id is not None and frame.get("id") == self._join_id
        match frame["type"]:
            case "joined" if ours:
                self._welcome(frame["data"])
            case "error" if ours:
                self._refused(RoomfulError.of(frame["error"]), now)
            case "left" if "id" not in frame:
                self.end(RoomfulError("kicked", f"Put out of {self.name}."))
            case "gap":
                self._gap(frame["data"])
            case "presence":
                self._event(frame)
            case str(type) if "." in type:
                self._event(frame)

    def _welcome(self, data: dict[str, Any]) -> None:
        gap, replaced = data["gap"], self.epoch not in (None, data["epoch"])
        if self.position is None:
            self.position = data["seq"] if self._since == "new" else None
        elif replaced:
            self.position = data["seq"]
        elif gap:
            # After "lost" the gap lies beyond the log's end: go on at the end.
            self.position = min(gap["to"], data["seq"])
        self.epoch, self._listed_at = data["epoch"], data["seq"]
        self.members = {person.session: person for person in people(data["members"])}
        self.count = data["count"]
        self.joined = self.listening = self._entered = True
        self._join_id = None
        self._refusals = 0
        if gap:
            self.inbox.append(Gap(self.name, gap["from"], gap["to"], gap["reason"]))

    def _refused(self, error: RoomfulError, now: float) -> None:
        self._join_id = None
        # A full room is worth waiting for only for those who have been in it.
        if not error.retry or (error.code not in _PASSING and not self._entered):
            return self.end(error)
        delay_s = full_jitter(self._refusals, *_REJOIN_S, self._chance)
        if error.retry_after_ms is not None:
            delay_s = error.retry_after_ms / 1000
        self._refusals += 1
        self.wants_join, self.not_before = True, now + delay_s
        return None

    def _gap(self, data: dict[str, Any]) -> None:
        if not self.listening:
            return
        self.inbox.append(Gap(self.name, data["from"], data["to"], data["reason"]))
        if "epoch" in data:
            # Numbers start over after `to`, whatever was heard before.
            self.epoch, self.position = data["epoch"], data["to"]
        else:
            self.position = max(self.position or 0, data["to"])

    def _event(self, frame: Frame) -> None:
        seq = frame.get("seq")
        if seq is None:
            if not self.full:
                self.inbox.append(event_of(frame))
            return
        if not self.listening or (self.position is not None and seq <= self.position):
            return
        if self._hole(frame.get("prev", seq - 1)):
            return
        if self.full:
            # Not taken, so not lost: the join after the next `take` asks for it again.
            self.listening, self._parked = False, True
            return
        self.position = seq
        event = event_of(frame)
        self.inbox.append(event)
        if isinstance(event, Presence) and seq > self._listed_at:
            self._count(event)

    def _hole(self, prev: int) -> bool:
        """Whether entries before this one are missing, so that it must be told again after them."""
        if self.position is None or prev <= self.position:
            self._healings = 0
            return False
        self._healings += 1
        if self._healings <= HEALINGS:
            self.listening, self.wants_join, self.not_before = False, True, 0.0
            return True
        self._healings = 0
        self.inbox.append(Gap(self.name, self.position + 1, prev, "unrecovered"))
        return False

    def _count(self, presence: Presence) -> None:
        for person in presence.left:
            self.members.pop(person.session, None)
        for person in presence.joined:
            self.members[person.session] = person
        self.count = presence.count
