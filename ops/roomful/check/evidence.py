"""All that the rules look at, arranged so that they can look things up."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from roomful.check.history import Acked, Heard, History, Joined, Opened, Sent, Trouble
from roomful.check.roomlog import Logged, RoomLog
from roomful_protocol.ids import RoomName, SessionId, UserId


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken: the rule's name, and a sentence that says by what."""

    rule: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the cluster has promised in seconds.

    A session that comes back within `grace_s` is never announced as left; `margin_s` before it is
    over nothing is held against a cluster that believes it over. `ended_at` is when histories and
    logs end, by the clock of the histories; whoever went away `gone_s` before has left by then.
    """

    grace_s: float
    margin_s: float
    gone_s: float
    ended_at: float


class Attendance:
    """Who was in a room at each seq, as its log tells."""

    def __init__(self, log: RoomLog) -> None:
        self._seqs: list[int] = []
        self._members: list[frozenset[SessionId]] = []
        here: frozenset[SessionId] = frozenset()
        for entry in log.entries:
            if entry.content.type == "presence":
                here = (here | entry.content.joined) - entry.content.left
                self._seqs.append(entry.seq)
                self._members.append(here)

    def at(self, seq: int) -> frozenset[SessionId]:
        """The members after the entry `seq`."""
        index = bisect_right(self._seqs, seq)
        return self._members[index - 1] if index else frozenset()

    @property
    def last(self) -> frozenset[SessionId]:
        return self._members[-1] if self._members else frozenset()


class Growth:
    """How long each room's log was at least, by what anybody had been told of it."""

    def __init__(self, histories: Sequence[History]) -> None:
        told: dict[RoomName, list[tuple[float, int]]] = defaultdict(list)
        for history in histories:
            for event in history.events:
                match event:
                    case Heard(room, int(seq), at=at) | Joined(room, seq=seq, at=at):
                        told[room].append((at, seq))
                    case Acked(room, _, int(seq), at):
                        told[room].append((at, seq))
                    case _:
                        pass
        self._times: dict[RoomName, list[float]] = {}
        self._heads: dict[RoomName, list[int]] = {}
        for room, pairs in told.items():
            pairs.sort()
            self._times[room] = [at for at, _ in pairs]
            self._heads[room] = list(accumulate((seq for _, seq in pairs), max))

    def at(self, room: RoomName, at: float) -> int:
        """A seq that was in the log of `room` before `at`, as was all before it."""
        index = bisect_left(self._times.get(room, ()), at)
        return self._heads[room][index - 1] if index else 0


class Evidence:
    """Histories and logs, indexed. Rooms without a log are not looked at."""

    def __init__(
        self,
        histories: Sequence[History],
        logs: Sequence[RoomLog],
        bounds: Bounds,
        troubles: Sequence[Trouble],
    ) -> None:
        self.histories = histories
        self.logs = {log.room: log for log in logs}
        self.bounds = bounds
        self.troubles = troubles
        self.entries = {log.room: {entry.seq: entry for entry in log.entries} for log in logs}
        self.attendance = {log.room: Attendance(log) for log in logs}
        self.growth = Growth(histories)
        self.keys: dict[str, list[tuple[RoomName, Logged]]] = defaultdict(list)
        for log in logs:
            for entry in log.entries:
                if entry.content.key is not None:
                    self.keys[entry.content.key].append((log.room, entry))
        self.sent = {
            event.key for one in histories for event in one.events if isinstance(event, Sent)
        }
        self.sessions = {
            one.client: {event.session for event in one.events if isinstance(event, Opened)}
            for one in histories
        }
        """Those that each client has had, by the client's name."""

    def meant(
        self, room: RoomName, first: int, last: int, user: UserId, session: SessionId
    ) -> Iterator[Logged]:
        """The entries `first` to `last` that are for this client."""
        entries = self.entries[room]
        for seq in range(first, last + 1):
            entry = entries.get(seq)
            if entry is not None and entry.audience.hears(user, session):
                yield entry

    def owner(self, session: SessionId) -> str:
        """Whose session it is, for sentences."""
        owners = [client for client, own in self.sessions.items() if session in own]
        return f"{owners[0]} ({session})" if owners else session
