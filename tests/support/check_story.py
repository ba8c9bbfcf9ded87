"""Small histories for the tests of `roomful check`: two clients in one room, told by hand."""

from collections.abc import Sequence
from dataclasses import replace

from roomful.check.content import Content
from roomful.check.evidence import Bounds
from roomful.check.history import (
    Acked,
    Event,
    Heard,
    History,
    Joined,
    Joining,
    Opened,
    Sent,
    Trouble,
)  # fmt: skip
from roomful.check.roomlog import Logged, RoomLog, Written
from roomful.check.verdict import Verdict, judge
from roomful_protocol.blocks import EVERYONE, Audience

ROOM = "lobby"
EPOCH = "k3f9"
STORY = 3
"""Entries with which each story begins."""
BOUNDS = Bounds(grace_s=5, margin_s=1, gone_s=10, ended_at=100)


def came(*sessions: str, count: int) -> Content:
    return Content("presence", 1, None, None, 0, joined=frozenset(sessions), count=count)


def went(*sessions: str, count: int) -> Content:
    return Content("presence", 1, None, None, 0, left=frozenset(sessions), count=count)


def said(key: str, sender: str = "a1", digest: int = 7, tally: int | None = None) -> Content:
    return Content("chat.message", 1, key, sender, digest, tally=tally)


def entries(*contents: Content | tuple[Content, Audience]) -> tuple[Logged, ...]:
    """A log's entries, numbered from 1."""
    pairs = [one if isinstance(one, tuple) else (one, EVERYONE) for one in contents]
    return tuple(Logged(seq, *pair) for seq, pair in enumerate(pairs, 1))


def blocks(*of: tuple[int, str, int, int, int]) -> tuple[Written, ...]:
    """Blocks of (term, writer, number, first, last); they do not count members rightly."""
    return tuple(
        Written(term, writer, number, EPOCH, first, last, -1)
        for term, writer, number, first, last in of
    )


class Story:
    """Ann (a1) and Bob (b1) join, Ann says one thing, both hear it: all is well.

    Tests change `log`, or what happens to `ann` and `bob`, and ask for the `verdict`.
    """

    def __init__(self) -> None:
        self.log = [came("a1", count=1), came("b1", count=2), said("k1")]
        self.audiences: dict[int, Audience] = {}
        self.blocks: tuple[Written, ...] = ()
        self.first = 1
        self.troubles: list[Trouble] = []
        self.gone: set[str] = set()
        self.ann: list[Event] = [
            Opened("n1", "a1", False, 1), Joining(ROOM, "new", 1), joined(1, "a1", at=1),
            self.hears(2), Sent(ROOM, "k1", 3), self.hears(3), Acked(ROOM, "k1", 3, 4),
        ]  # fmt: skip
        self.bob: list[Event] = [
            Opened("n2", "b1", False, 2), Joining(ROOM, "new", 2), joined(2, "a1", "b1", at=2),
            self.hears(3),
        ]  # fmt: skip

    def hears(self, seq: int, prev: int | None = None, at: float | None = None) -> Heard:
        """Heard as the log has it now; what tests add to the log is heard late, at 40."""
        if at is None:
            at = 3 if seq <= STORY else 40
        return Heard(ROOM, seq, prev, self.log[seq - 1], at)

    def says(self, key: str, at: float = 5, *, tally: int | None = None) -> int:
        """Ann says something more, and all is well with it; its seq."""
        self.log.append(said(key, tally=tally))
        seq = len(self.log)
        self.ann += [Sent(ROOM, key, at), self.hears(seq), Acked(ROOM, key, seq, at)]
        self.bob.append(self.hears(seq))
        return seq

    def is_told(self, content: Content, at: float | None = None) -> int:
        """Both hear an entry of the room; its seq."""
        self.log.append(content)
        seq = len(self.log)
        self.ann.append(self.hears(seq, at=at))
        self.bob.append(self.hears(seq, at=at))
        return seq

    @property
    def logged(self) -> RoomLog:
        whole = entries(*self.log)
        kept = [
            replace(one, audience=self.audiences.get(one.seq, EVERYONE))
            for one in whole
            if one.seq >= self.first
        ]
        return RoomLog(ROOM, EPOCH, tuple(kept), self.blocks)

    def verdict(self) -> Verdict:
        histories = [
            History(name, name, events, name in self.gone)
            for name, events in (("ann", self.ann), ("bob", self.bob))
        ]
        return judge(histories, [self.logged], BOUNDS, self.troubles)

    def broken(self) -> Sequence[str]:
        """The rules that are broken, each once."""
        return sorted({violation.rule for violation in self.verdict().violations})


def joined(
    seq: int, *members: str, since: int | str = "new", at: float = 1, epoch: str = EPOCH
) -> Joined:
    """A join that was answered well."""
    recovered = isinstance(since, int)
    here = frozenset(members)
    return Joined(ROOM, epoch, since, seq, recovered, None, here, len(here), at)
