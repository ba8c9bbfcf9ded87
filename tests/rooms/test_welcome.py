"""From where a client that comes back is served, and what it is told of what it missed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful_protocol.blocks import Entry, Page
from roomful_protocol.frames import NEW, Since
from roomful_rooms.recent import Recent
from roomful_rooms.welcome import served_from


def room(oldest: int, head: int) -> Recent:
    """A room whose history from `oldest` to `head` is retained."""
    recent = Recent("e1", oldest - 1, ())
    recent.add([Entry(seq, b"{}") for seq in range(oldest, head + 1)])
    return recent


@pytest.mark.parametrize(
    ("since", "epoch", "start", "recovered", "gap"),
    [
        (NEW, None, 20, False, None),
        (Since(last=5), None, 15, False, None),
        (Since(last=500), None, 9, False, None),
        (Since(last=0), None, 20, False, None),
        (Since(after=20), "e1", 20, True, None),
        (Since(after=15), "e1", 15, True, None),
        (Since(after=15), None, 15, True, None),
        (Since(after=9), "e1", 9, True, None),
        (Since(after=8), "e1", 9, False, (9, 9, "retention")),
        (Since(after=0), "e1", 9, False, (1, 9, "retention")),
        (Since(after=25), "e1", 20, False, (21, 25, "lost")),
        (Since(after=15), "e0", 20, False, (16, 20, "epoch")),
        (Since(after=90), "e0", 20, False, (91, 91, "epoch")),
    ],
)
def test_served_from(
    since: Since,
    epoch: str | None,
    start: int,
    recovered: bool,
    gap: tuple[int, int, str] | None,
) -> None:
    assert served_from(since, epoch, room(10, 20)) == (start, recovered, gap)


def test_an_empty_room() -> None:
    assert served_from(NEW, None, room(1, 0)) == (0, False, None)
    assert served_from(Since(after=0), "e1", room(1, 0)) == (0, True, None)
    assert served_from(Since(last=9), None, room(1, 0)) == (0, False, None)


def test_what_only_pages_have_is_retained_too() -> None:
    recent = Recent("e1", 20, [Page(5, 20)])
    assert served_from(Since(after=4), "e1", recent) == (4, True, None)
    assert served_from(Since(after=3), "e1", recent) == (4, False, (4, 4, "retention"))


@given(st.integers(1, 30), st.integers(0, 30), st.integers(0, 80), st.booleans())
def test_recovery_is_whole_or_says_what_is_missing(
    oldest: int, length: int, after: int, same: bool
) -> None:
    recent = room(oldest, oldest - 1 + length)
    start, recovered, gap = served_from(Since(after=after), "e1" if same else "e0", recent)
    assert recovered == (gap is None)
    assert oldest - 1 <= start <= recent.head
    if recovered:
        assert start == after
    if gap is not None and same:
        first, last, _ = gap
        assert last >= first
        # What is served and what is told to be missing lie next to each other.
        assert (first, last) in ((after + 1, start), (start + 1, after))
