"""What is due to a room's members here: gathered, then written to each in one piece.

Most members hear everything, so for each codec one run of bytes is made and written to all. Members
for whom that would be wrong (a private message, their own under `echo: false`, one that has just
been attached, one that is behind) get a run of their own, until they are where all others are.
"""

import asyncio
from collections.abc import Iterable, Sequence
from os import write
from typing import Final, Protocol

from roomful_nodes.metrics import Metrics
from roomful_nodes.outbox import GONE, HIGH, LOW
from roomful_nodes.runs import Viewer, Wires, common_run, composed
from roomful_protocol.blocks import EVERYONE, Audience, Entry
from roomful_protocol.codecs import Codec
from roomful_protocol.frames import Frame
from roomful_protocol.ids import SessionId, UserId
from roomful_rooms.pace import Pace

INSPECT_S: Final = 0.05
"""Transports are looked at so often, or after LOW bytes: between, nobody's may overflow."""
LEAST_BYTES: Final = 4096
"""Nor does it by less than this: in a room where little is said, looking would cost the most."""


class Follower(Viewer, Protocol):
    """A member that is served live."""

    def fell_behind(self, last: int) -> None:
        """Too much waits for its socket: it is not served any more after seq `last`."""
        ...


class Fanout:
    """The live members of one room on this node."""

    def __init__(self, loop: asyncio.AbstractEventLoop, metrics: Metrics) -> None:
        self._loop, self._metrics = loop, metrics
        self._followers: dict[SessionId, Follower] = {}
        self._users: dict[UserId, dict[SessionId, Follower]] = {}
        # The last seq of those who are where all are, and of those who are not.
        self._plain = 0
        self._deviating: dict[Follower, int] = {}
        self._behind: set[Follower] = set()
        self._pending: list[Entry] = []
        self._lists: dict[Codec, list[Follower]] | None = None
        self._armed = False
        self._pace = Pace(loop)
        self._inspect_at = 0.0
        self._uninspected = LEAST_BYTES

    def __len__(self) -> int:
        return len(self._followers)

    # -- members -----------------------------------------------------------------------------------

    def add(self, follower: Follower, last: int) -> None:
        """Serve `follower`, whose last seq is `last`: it has all that was pushed before."""
        if (before := self._followers.get(follower.session)) is not None:
            self.remove(before)
        if not self._followers and not self._pending:
            self._plain = last
        if last != self._plain and all(0 < entry.seq <= last for entry in self._pending):
            # As after a join, whose own entry is due to all others: then it is where they are.
            self.flush()
        self._followers[follower.session] = follower
        follower.outbox.rooms += 1
        follower.outbox.clear = False
        self._users.setdefault(follower.user, {})[follower.session] = follower
        if self._lists is not None:
            _list(follower, self._lists)
        # What is pending it gets only as far as it is past `last`: so, nothing twice.
        if last != self._plain:
            self._deviating[follower] = last

    def remove(self, follower: Follower) -> int | None:
        """Serve it no more; its last seq, or None if it was not served."""
        if self._followers.get(follower.session) is not follower:
            return None
        del self._followers[follower.session]
        follower.outbox.rooms -= 1
        others = self._users[follower.user]
        del others[follower.session]
        if not others:
            del self._users[follower.user]
        self._lists = None
        self._behind.discard(follower)
        return self._deviating.pop(follower, self._plain)

    # -- what is due -------------------------------------------------------------------------------

    def push(self, entries: Iterable[Entry], *, paced: bool = False) -> None:
        """Have `entries` written to those who hear them, soon; of ephemeral ones the seq is 0.

        `paced`: they have gathered before they came here, and need not do so once more.
        """
        self._pending += entries
        if self._armed:
            return
        self._armed = True
        if not self._pace.busy and len(self._pending) == 1:
            # One that comes alone goes ahead; what else is said in this turn follows in one piece,
            # also if writing that one fails.
            self._loop.call_soon(self._paced, True)
            self.flush()
        elif paced:
            self._loop.call_soon(self._paced)
        else:
            self._pace.call(self._paced)

    def _paced(self, led: bool = False) -> None:
        self._armed = False
        if self._pending:
            self.flush()
            self._pace.busy = self._pace.busy or led

    def gap(self, frame: Frame, seq: int) -> None:
        """Tell everybody, in its place, that nothing up to `seq` will come any more."""
        self.flush()
        for follower in list(self._followers.values()):
            follower.outbox.send(frame)
        self._deviating.clear()
        self._plain = seq

    def flush(self) -> None:
        """Write everything that is due, now."""
        if not self._pending:
            return
        self._inspect()
        entries, self._pending = self._pending, []
        self._pace.busy = len(entries) > 1
        shed = 0
        if self._deviating or self._behind or not self._write_alike(entries):
            shed = self._write_apart(entries)
        self._metrics.deliveries.count += len(entries) * len(self._followers) - shed

    def _write_alike(self, entries: Sequence[Entry]) -> bool:
        """Write the same to everybody, as is right nearly always. False if it would be wrong for
        somebody: then nothing is written."""
        before = self._plain
        for codec, members in (self._lists or self._by_codec()).items():
            run = common_run(entries, codec, before)
            if run is None:
                return False
            data, self._plain = run
            self._write(data, members)
        return True

    def _write_apart(self, entries: Sequence[Entry]) -> int:
        """Write the plain run to most, and to others what is right for them. Returns how many
        ephemeral frames were left out, as their clients are behind."""
        shed = len(self._behind) * sum([not entry.seq for entry in entries])
        exceptions = self._exceptions(entries, self._behind if shed else ())
        wires, plain = Wires(), self._plain
        for codec, members in self._by_codec().items():
            run = common_run(entries, codec, self._plain)
            data, plain = run or composed(entries, wires, codec, self._plain, None)
            if data:
                self._write(data, [one for one in members if one not in exceptions])
        if exceptions:
            self._write_exceptions(entries, wires, exceptions, plain)
        if shed:
            self._metrics.shed.inc(shed)
        self._plain = plain
        return shed

    def _by_codec(self) -> dict[Codec, list[Follower]]:
        # Not rebuilt per leave: with many of them that would be quadratic.
        if self._lists is None:
            self._lists = {}
            for follower in self._followers.values():
                _list(follower, self._lists)
        return self._lists

    def _write(self, data: bytes, members: Iterable[Follower]) -> None:
        size, gone = len(data), list[Follower]()
        self._uninspected += size
        for follower in members:
            outbox = follower.outbox
            try:
                if not outbox.clear:
                    outbox.push(data)
                elif (taken := write(outbox.fd, data)) != size:
                    outbox.write(data[taken:])
            except GONE:
                if outbox.clear:
                    # The transport finds out why: it waits until there is room, or is closed.
                    outbox.write(data)
                else:
                    gone.append(follower)
        for follower in gone:
            # Its socket is closed, though its reader does not know yet; the others must get theirs.
            self.remove(follower)

    def _exceptions(
        self, entries: Iterable[Entry], behind: Iterable[Follower]
    ) -> dict[Follower, int]:
        """Those for whom the plain run is not right, and their last seqs."""
        exceptions = dict(self._deviating)
        for follower in behind:
            exceptions.setdefault(follower, self._plain)
        for entry in entries:
            if entry.audience is not EVERYONE:
                for follower in self._concerned(entry.audience):
                    exceptions.setdefault(follower, self._plain)
        return exceptions

    def _concerned(self, audience: Audience) -> Iterable[Follower]:
        """Those who hear what others do not, or the one who does not hear what all others do."""
        for user in audience.users:
            yield from self._users.get(user, {}).values()
        for session in (*audience.sessions, audience.skip):
            if session is not None and (follower := self._followers.get(session)) is not None:
                yield follower

    def _write_exceptions(
        self, entries: Sequence[Entry], wires: Wires, exceptions: dict[Follower, int], plain: int
    ) -> None:
        most = 0
        for follower, before in exceptions.items():
            outbox, shed = follower.outbox, follower in self._behind
            data, last = composed(entries, wires, outbox.codec, before, follower, shed)
            outbox.write(data)
            most = max(most, len(data))
            if last == plain:
                self._deviating.pop(follower, None)
            else:
                self._deviating[follower] = last
        self._uninspected += most

    # -- those who cannot keep up ------------------------------------------------------------------

    def _inspect(self) -> None:
        if self._uninspected < LEAST_BYTES and not self._behind:
            return
        now = self._loop.time()
        if now < self._inspect_at and self._uninspected < LOW:
            return
        self._inspect_at, self._uninspected = now + INSPECT_S, 0
        for follower in list(self._followers.values()):
            waiting = follower.outbox.look()
            if waiting > HIGH:
                last = self.remove(follower)
                follower.fell_behind(self._plain if last is None else last)
            elif waiting > LOW:
                self._behind.add(follower)
            else:
                self._behind.discard(follower)


def _list(follower: Follower, lists: dict[Codec, list[Follower]]) -> None:
    lists.setdefault(follower.outbox.codec, []).append(follower)
