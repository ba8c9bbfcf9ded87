"""What is due to a room's members here: gathered, then written to each in one piece.

Most members hear everything, so for each codec one run of bytes is made and written to all. Members
for whom that would be wrong (a private message, their own under `echo: false`, one that has just
been attached, one that is behind) get a run of their own, until they are where all others are.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from roomful_nodes.metrics import Metrics
from roomful_nodes.outbox import GONE, HIGH, LOW, Outbox, framed
from roomful_protocol.blocks import EVERYONE, Audience, Entry
from roomful_protocol.codecs import Codec
from roomful_protocol.codecs.events import with_prev
from roomful_protocol.frames import Frame
from roomful_protocol.ids import SessionId, UserId

PACE_S: Final = 0.001
"""Under load at most one write per member in so long; a quiet room waits for nothing."""
INSPECT_S: Final = 0.05
"""Transports are looked at so often, or after LOW bytes: between, nobody's may overflow."""
_NEXT: Final = -1
"""Stands for a predecessor that need not be told, as it is the seq before."""


Push = Callable[[bytes], None]


class Follower(Protocol):
    """A member that is served live."""

    @property
    def session(self) -> SessionId: ...
    @property
    def user(self) -> UserId: ...
    @property
    def outbox(self) -> Outbox: ...

    def fell_behind(self, last: int) -> None:
        """Too much waits for its socket: it is not served any more after seq `last`."""
        ...


class Event:
    """One frame on its way, framed once for each codec and predecessor. Ephemeral: `seq` is 0."""

    __slots__ = ("_wires", "audience", "frame", "seq")

    def __init__(self, seq: int, frame: bytes, audience: Audience) -> None:
        self.seq = seq
        self.frame = frame
        self.audience = audience
        self._wires: dict[tuple[Codec, int], bytes] = {}

    def wire(self, codec: Codec, last: int) -> bytes:
        """The WebSocket frame for a client whose last seq was `last`."""
        prev = last if self.seq and last != self.seq - 1 else _NEXT
        wire = self._wires.get((codec, prev))
        if wire is None:
            frame = self.frame if prev == _NEXT else with_prev(self.frame, prev)
            wire = self._wires[codec, prev] = framed(codec.shown(frame), codec.opcode)
        return wire


def composed(
    events: Iterable[Event], codec: Codec, last: int, viewer: Follower | None, shed: bool = False
) -> tuple[bytes, int]:
    """What `viewer` (None: all plain members) is to be written, and its last seq after that.

    `last` is its last seq before. With `shed`, nothing ephemeral.
    """
    wires = []
    for event in events:
        if event.audience is not EVERYONE and not _hears(event.audience, viewer):
            continue
        if not event.seq:
            if not shed:
                wires.append(event.wire(codec, last))
        elif event.seq > last:
            wires.append(event.wire(codec, last))
            last = event.seq
    return b"".join(wires), last


def _hears(audience: Audience, viewer: Follower | None) -> bool:
    if viewer is None:
        return not audience.private
    return audience.hears(viewer.user, viewer.session)


def shown_to(viewer: Follower, entries: Iterable[Entry], last: int) -> tuple[bytes, int]:
    """Entries of the past as `viewer` is to be written them, and its last seq after that."""
    events = [Event(entry.seq, entry.frame, entry.audience) for entry in entries]
    return composed(events, viewer.outbox.codec, last, viewer)


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
        self._pending: list[Event] = []
        self._lists: dict[Codec, list[tuple[Push, Follower]]] | None = None
        self._armed = False
        self._next = self._inspect_at = 0.0
        self._uninspected = 0

    def __len__(self) -> int:
        return len(self._followers)

    # -- members -----------------------------------------------------------------------------------

    def add(self, follower: Follower, last: int) -> None:
        """Serve `follower`, whose last seq is `last`: it has all that was pushed before."""
        if (before := self._followers.get(follower.session)) is not None:
            self.remove(before)
        if not self._followers and not self._pending:
            self._plain = last
        self._followers[follower.session] = follower
        self._users.setdefault(follower.user, {})[follower.session] = follower
        self._lists = None
        # What is pending it gets only as far as it is past `last`: so, nothing twice.
        if last != self._plain:
            self._deviating[follower] = last

    def remove(self, follower: Follower) -> int | None:
        """Serve it no more; its last seq, or None if it was not served."""
        if self._followers.get(follower.session) is not follower:
            return None
        del self._followers[follower.session]
        others = self._users[follower.user]
        del others[follower.session]
        if not others:
            del self._users[follower.user]
        self._lists = None
        self._behind.discard(follower)
        return self._deviating.pop(follower, self._plain)

    # -- what is due -------------------------------------------------------------------------------

    def push(self, seq: int, frame: bytes, audience: Audience) -> None:
        """Have `frame` written to those who hear it, soon; `seq` 0 if it is ephemeral."""
        self._pending.append(Event(seq, frame, audience))
        if not self._armed:
            self._arm()

    def _arm(self) -> None:
        self._armed = True
        now = self._loop.time()
        if now >= self._next:
            self._next = now + PACE_S
            self._loop.call_soon(self._paced)
        else:
            self._loop.call_at(self._next, self._paced)
            self._next += PACE_S

    def _paced(self) -> None:
        self._armed = False
        self.flush()

    def gap(self, frame: Frame, seq: int) -> None:
        """Tell everybody, in its place, that nothing up to `seq` will come any more."""
        self.flush()
        for follower in list(self._followers.values()):
            follower.outbox.send(frame)
        self._deviating.clear()
        self._plain = seq

    def flush(self) -> None:
        """Write everything that is due, now."""
        events, self._pending = self._pending, []
        if not events:
            return
        ephemeral = not all(event.seq for event in events)
        exceptions = self._exceptions(events, self._behind if ephemeral else ())
        plain = self._plain
        for codec, members in self._by_codec().items():
            data, plain = composed(events, codec, self._plain, None)
            self._write(data, members, exceptions)
        self._write_exceptions(events, exceptions, plain)
        if ephemeral and self._behind:
            self._metrics.shed.inc(len(self._behind))
        self._plain = plain
        self._metrics.deliveries.inc(len(events) * len(self._followers))
        self._inspect()

    def _by_codec(self) -> dict[Codec, list[tuple[Push, Follower]]]:
        # Not rebuilt per join or leave: with many of them that would be quadratic.
        if self._lists is None:
            self._lists = {}
            for follower in self._followers.values():
                outbox = follower.outbox
                self._lists.setdefault(outbox.codec, []).append((outbox.push, follower))
        return self._lists

    def _write(
        self,
        data: bytes,
        members: Iterable[tuple[Push, Follower]],
        exceptions: dict[Follower, int],
    ) -> None:
        if not data:
            return
        self._uninspected += len(data)
        if exceptions:
            members = [member for member in members if member[1] not in exceptions]
        gone = []
        for push, follower in members:
            try:
                push(data)
            except GONE:
                gone.append(follower)
        for follower in gone:
            # Its socket is closed, though its reader does not know yet; the others must get theirs.
            self.remove(follower)

    def _exceptions(
        self, events: Iterable[Event], behind: Iterable[Follower]
    ) -> dict[Follower, int]:
        """Those for whom the plain run is not right, and their last seqs."""
        exceptions = dict(self._deviating)
        for follower in behind:
            exceptions.setdefault(follower, self._plain)
        for event in events:
            if event.audience is not EVERYONE:
                for follower in self._concerned(event.audience):
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
        self, events: Sequence[Event], exceptions: dict[Follower, int], plain: int
    ) -> None:
        for follower, before in exceptions.items():
            outbox, shed = follower.outbox, follower in self._behind
            data, last = composed(events, outbox.codec, before, follower, shed)
            outbox.write(data)
            if last == plain:
                self._deviating.pop(follower, None)
            else:
                self._deviating[follower] = last

    # -- those who cannot keep up ------------------------------------------------------------------

    def _inspect(self) -> None:
        now = self._loop.time()
        if now < self._inspect_at and self._uninspected < LOW:
            return
        self._inspect_at, self._uninspected = now + INSPECT_S, 0
        for follower in list(self._followers.values()):
            waiting = follower.outbox.waiting
            if waiting > HIGH:
                last = self.remove(follower)
                follower.fell_behind(self._plain if last is None else last)
            elif waiting > LOW:
                self._behind.add(follower)
            else:
                self._behind.discard(follower)
