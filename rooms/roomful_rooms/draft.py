"""The next block of a room, gathering while the one before it is on its way to the log."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import structlog
from msgspec import Struct, field

from roomful_protocol.blocks import EVERYONE, Block, Done, Entered, Entry, Exited, Member
from roomful_protocol.codecs.events import checked_data, event_frame, presence_frame
from roomful_protocol.codecs.values import pack
from roomful_protocol.frames import Frame, person
from roomful_protocol.ids import RoomName
from roomful_protocol.messages import Answer
from roomful_rooms.effects import Gone, Tell, Turn
from roomful_rooms.presence import LISTED

Answered = Callable[[Answer], None]
Reply = Answer | Callable[[], Answer]
"""What a command is answered, or what makes it of the committed room."""

FULL_BYTES: Final = 256_000
"""From here on commands wait for the next block."""
TURN_BYTES: Final = 400_000
"""One handler may not ask for more than this: it must fit a message of the broker."""
SAMPLE: Final = 20
"""So many who came and went are named where presence shows counts and a sample."""
CARRIED: Final = 256
CARRIED_BYTES: Final = 64_000
"""Decisions without effect that wait for a block to ride on; older ones are forgotten first."""
RECORD_BYTES: Final = 100
"""What an entry, a decision or an answer takes besides its contents, roughly."""

log = structlog.get_logger()


class TooMuch(ValueError):
    """One handler asked for more than a block may hold: so many bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"One handler may ask for at most {TURN_BYTES} bytes; this is {size}.")
        self.size = size


def give(answered: Answered, answer: Answer) -> None:
    """Answer a command: an asker that fails must not keep others from their answers."""
    try:
        answered(answer)
    except Exception:
        log.exception("room.asker_failed")


class Draft(Struct):
    """Entries numbered from `first`, changes, decisions, and the answers that wait for them.

    `answers` are released when the block is in the log; an answer that needs the committed room to
    be made is a function. `bytes` counts all that waits here, and is 0 only if nothing does. It is
    a block's size that is bounded, and the memory that answers take while an append hangs.
    """

    room: RoomName
    first: int
    entries: list[Entry] = []
    changes: list[Entered | Gone] = []
    state: dict[str, Any] = {}
    removed: set[str] = set()
    done: list[Done] = []
    answers: deque[tuple[Answered, Reply]] = field(default_factory=deque)
    bytes: int = 0
    welcomes: bool = False
    members_at_end: tuple[int, tuple[Member, ...]] = (0, ())
    # Joins and leaves next to each other share one entry, so its frame is made late.
    _open: list[Entered | Gone] = []
    _open_count: int = 0
    _open_ts: int = 0

    @property
    def effective(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.entries or self._open or self.changes or self.state or self.removed)

    @property
    def last(self) -> int:
        """The head of the room once this is written."""
        return self.first + len(self.entries) - (not self._open)

    @property
    def full(self) -> bool:
        return self.bytes >= FULL_BYTES

    def add(
        self, turn: Turn, state: dict[str, Any], removed: Sequence[str], count: int, ts: int
    ) -> int | None:
        """Take over what a handler asked for; the seq of its first own event, if it had any.

        `count`: members after it; `ts`: ms since 1970. Raises TypeError or ValueError if something
        cannot be shown to clients or is too much; then nothing is taken.
        """
        changes, tells = turn.changes, turn.tells
        size = _size(state) + _size(removed) + sum(map(_change_size, changes))
        besides = size + _reply_size(turn.reply)
        visible = [change for change in changes if not _silent(change)]
        if visible and tells:
            # Who comes and goes is told before them, and for good: so they are tried first.
            Draft(self.room, self.last + 2).tell(tells, ts, besides)
        elif besides > TURN_BYTES:
            raise TooMuch(besides)
        if visible:
            self._show(visible, count, ts)
        first = self.tell(tells, ts, besides) if tells else None
        self.changes += changes
        if state or removed:
            self._merge_state(state, removed)
        self.bytes += size
        return first

    def tell(self, tells: Iterable[Tell], ts: int, besides: int = 0) -> int:
        """Take over events; the seq of the first. `besides`: so many bytes does their handler ask
        for in other ways. `ts`, and what is raised: as in `add`."""
        first = seq = self.first + len(self.entries) + bool(self._open)
        entries, size, room = [], 0, self.room
        for tell in tells:
            audience = tell.audience
            frame = event_frame(tell.type, room, seq, ts, tell.sender, tell.data)
            entries.append(Entry(seq, frame, audience))
            size += RECORD_BYTES + len(frame)
            if audience is not EVERYONE:
                size += 4 * sum(map(len, audience.users + audience.sessions))
            seq += 1
        if size + besides > TURN_BYTES:
            raise TooMuch(size + besides)
        # Nothing fails from here on.
        if self._open:
            self.seal()
        self.entries.extend(entries)
        self.bytes += size
        return first

    def _show(self, changes: list[Entered | Gone], count: int, ts: int) -> None:
        """Have it told who has come and gone, with those before unless their order matters."""
        if self._open and _overlap(self._open, changes):
            self.seal()
        self._open += changes
        self._open_count, self._open_ts = count, ts

    def _merge_state(self, state: dict[str, Any], removed: Iterable[str]) -> None:
        self.state.update(state)
        self.removed.difference_update(state)
        for key in removed:
            self.state.pop(key, None)
            self.removed.add(key)

    def decide(self, done: Done) -> None:
        """Have a decision written with the block, or carried on to the next."""
        self.done.append(done)
        self.bytes += _weight(done)

    def answer(self, answered: Answered, answer: Reply, done: Done | None = None) -> None:
        """Have a command answered once all that came before it is in the log; so is `done`, what
        was decided, as in `decide`."""
        self.answers.append((answered, answer))
        if done is None:
            self.bytes += RECORD_BYTES
        else:
            self.done.append(done)
            self.bytes += RECORD_BYTES + _weight(done)

    def made(self, answered: Answered, answer: Callable[[], Answer]) -> Answer:
        """An answer of the committed room. If it cannot be made, its asker waits on, among those
        who are still to be answered."""
        try:
            return answer()
        except Exception:
            self.answers.appendleft((answered, answer))
            raise

    def seal(self) -> None:
        """Joins and leaves from now on do not share the entry of those before."""
        if not self._open:
            return
        seq = self.first + len(self.entries)
        joined = [shown(c.member) for c in self._open if isinstance(c, Entered)]
        left = [shown(c.member) for c in self._open if isinstance(c, Gone)]
        count = self._open_count
        sample = SAMPLE if count > LISTED else None
        frame = presence_frame(self.room, seq, self._open_ts, joined, left, count, sample)
        self.entries.append(Entry(seq, frame))
        self._open = []

    def following(self) -> "Draft":
        """The draft after this one; it takes on the decisions of one that is not written."""
        following = Draft(self.room, self.last + 1)
        if not self.effective:
            for done in self._carried():
                following.decide(done)
        return following

    def _carried(self) -> list[Done]:
        room, start = CARRIED_BYTES, len(self.done)
        while start > max(len(self.done) - CARRIED, 0):
            room -= _weight(self.done[start - 1])
            if room < 0:
                break
            start -= 1
        return self.done[start:]

    def block(
        self, *, term: int, writer: str, number: int, epoch: str, ts: int, count: int
    ) -> Block:
        """The block to append. The draft takes nothing more after this."""
        self.seal()
        return Block(
            term, writer, number, epoch, self.first, ts, count, tuple(self.entries),
            tuple(map(_stored, self.changes)), self.state, tuple(self.removed), tuple(self.done),
        )  # fmt: skip


def shown(member: Member) -> Frame:
    return person(member.user, member.name, member.session)


def _silent(change: Entered | Gone) -> bool:
    return isinstance(change, Entered) and change.moved


def _stored(change: Entered | Gone) -> Entered | Exited:
    return change if isinstance(change, Entered) else Exited(change.member.session, change.reason)


def _overlap(one: Iterable[Entered | Gone], other: Iterable[Entered | Gone]) -> bool:
    """Whether somebody is in both: then the order of the two matters, and they stay apart."""
    sessions = {change.member.session for change in one}
    return any(change.member.session in sessions for change in other)


def _reply_size(reply: object) -> int:
    """Raises ValueError if `reply` cannot be shown."""
    if reply is None:
        return 0
    checked_data(reply)
    return _size(reply)


def _size(value: object) -> int:
    return len(pack(value)) if value else 0


def _weight(done: Done) -> int:
    if done.data is None and done.denied is None:
        return RECORD_BYTES
    return RECORD_BYTES + _size(done.data) + len(done.denied[1] if done.denied else "")


def _change_size(change: Entered | Gone) -> int:
    # Names stand in the presence entry and among the members, at 4 bytes a character at most.
    return RECORD_BYTES + 8 * (len(change.member.user) + len(change.member.name))
