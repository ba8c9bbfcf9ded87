"""Runs: a room's entries as a client is to be written them, whole frames in one piece.

Most clients hear everything and share the bytes of one run. For whom that would be wrong, one is
made that leaves out what is not for it, and tells it the predecessor of what comes after that.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from roomful_nodes.outbox import Outbox, framed, run_of
from roomful_protocol.blocks import EVERYONE, Audience, Entry
from roomful_protocol.codecs import Codec
from roomful_protocol.codecs.events import with_prev
from roomful_protocol.ids import SessionId, UserId

_NEXT: Final = -1
"""Stands for a predecessor that need not be told, as it is the seq before."""


class Viewer(Protocol):
    """Whom a run is made for."""

    @property
    def session(self) -> SessionId: ...
    @property
    def user(self) -> UserId: ...
    @property
    def outbox(self) -> Outbox: ...


class Wires:
    """Frames as they are written, made once for each codec and predecessor."""

    def __init__(self) -> None:
        self._made: dict[tuple[Codec, bytes, int], bytes] = {}

    def wire(self, entry: Entry, codec: Codec, last: int) -> bytes:
        """The WebSocket frame of `entry` for a client whose last seq was `last`."""
        prev = last if entry.seq and last != entry.seq - 1 else _NEXT
        key = (codec, entry.frame, prev)
        wire = self._made.get(key)
        if wire is None:
            frame = entry.frame if prev == _NEXT else with_prev(entry.frame, prev)
            wire = self._made[key] = framed(codec.shown(frame), codec.opcode)
        return wire


def common_run(entries: Iterable[Entry], codec: Codec, last: int) -> tuple[bytes, int] | None:
    """What everybody whose last seq was `last` is to be written, and the last seq after that.

    None if not all entries are for everyone, or if they do not follow `last` without a hole. Of
    ephemeral ones the seq is 0.
    """
    frames = []
    for entry in entries:
        if entry.audience is not EVERYONE:
            return None
        if entry.seq:
            last += 1
            if entry.seq != last:
                return None
        frames.append(entry.frame)
    return run_of(frames, codec), last


def composed(
    entries: Iterable[Entry],
    wires: Wires,
    codec: Codec,
    last: int,
    viewer: Viewer | None,
    shed: bool = False,
) -> tuple[bytes, int]:
    """What `viewer` (None: all who are no exception) is to be written, and its last seq after that.

    `last` is its last seq before. With `shed`, nothing ephemeral.
    """
    run = []
    for entry in entries:
        if entry.audience is not EVERYONE and not _hears(entry.audience, viewer):
            continue
        if not entry.seq:
            if not shed:
                run.append(wires.wire(entry, codec, last))
        elif entry.seq > last:
            run.append(wires.wire(entry, codec, last))
            last = entry.seq
    return b"".join(run), last


def _hears(audience: Audience, viewer: Viewer | None) -> bool:
    if viewer is None:
        return not audience.private
    return audience.hears(viewer.user, viewer.session)


def shown_to(viewer: Viewer, entries: Sequence[Entry], last: int) -> tuple[bytes, int]:
    """Entries of the past as `viewer` is to be written them, and its last seq after that."""
    codec = viewer.outbox.codec
    run = common_run(entries, codec, last)
    return run or composed(entries, Wires(), codec, last, viewer)
