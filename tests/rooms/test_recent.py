"""What an owner remembers of the past, against a plain list of all that ever happened."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from roomful_protocol.blocks import Entry, Page
from roomful_protocol.messages import Entries, Read
from roomful_rooms import recent as module
from roomful_rooms.recent import Recent


def entry(seq: int, size: int = 10) -> Entry:
    return Entry(seq, b"x" * size)


def filled(head: int, *, pages: int = 0, size: int = 10) -> Recent:
    """Entries 1 to `head`, the first `pages` of them in one page."""
    recent = Recent("e", 0, ())
    recent.add([entry(seq, size) for seq in range(1, head + 1)])
    if pages:
        recent.page_written(Page(1, pages))
    return recent


def seqs(answer: Entries) -> list[int]:
    return [entry.seq for entry in answer.entries]


def test_an_empty_room_answers() -> None:
    recent = Recent("e", 0, ())
    for read in (Read(), Read(after=0), Read(after=9), Read(before=1), Read(before=-3)):
        answer = recent.read(read)
        assert (answer.entries, answer.pages, answer.more) == ((), (), False)
    assert (recent.oldest, recent.first, recent.head) == (1, 1, 0)


def test_reading_forward_and_backward() -> None:
    recent = filled(10)
    assert seqs(recent.read(Read(after=3, limit=4))) == [4, 5, 6, 7]
    assert recent.read(Read(after=3, limit=4)).more
    assert not recent.read(Read(after=6, limit=4)).more
    assert seqs(recent.read(Read(before=4, limit=2))) == [2, 3]
    assert recent.read(Read(before=4, limit=2)).more
    assert not recent.read(Read(before=4, limit=3)).more
    assert seqs(recent.read(Read(limit=2))) == [9, 10]
    assert seqs(recent.read(Read(before=99, limit=2))) == [9, 10]
    assert seqs(recent.read(Read(after=99))) == []


def test_what_has_left_memory_is_named_by_its_page() -> None:
    recent = Recent("e", 20, [Page(1, 9), Page(10, 20)])
    recent.add([entry(21)])
    assert recent.read(Read(after=4)).pages == (Page(1, 9), Page(10, 20))
    assert recent.read(Read(after=9)).pages == (Page(10, 20),)
    assert recent.read(Read(before=21)).pages == (Page(10, 20),)
    assert recent.read(Read(before=10)).pages == (Page(1, 9),)
    assert recent.read(Read(before=10)).more
    assert recent.read(Read(after=-5)).pages == (Page(1, 9), Page(10, 20))
    nothing = recent.read(Read(before=1))
    assert (nothing.pages, nothing.more) == ((), False)


def test_the_newest_stay_in_memory_and_what_no_page_has_does_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "KEPT", 5)
    recent = filled(20)
    assert recent.first == 1
    recent.page_written(Page(1, 8))
    assert recent.first == 9
    recent.page_written(Page(9, 20))
    assert recent.first == 16
    assert recent.unpaged_bytes == 0
    recent.add([entry(21)])
    assert (recent.first, recent.unpaged_bytes) == (17, 10)
    assert recent.unpaged(21) == [entry(21)]


def test_memory_is_bounded_by_bytes_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", 35)
    assert filled(20, pages=20).first == 18


def test_an_answer_is_bounded_by_bytes_but_never_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_BYTES", 25)
    recent = filled(6)
    assert seqs(recent.read(Read(after=0))) == [1, 2]
    assert seqs(recent.read(Read())) == [5, 6]
    assert recent.all_after(3) is None
    assert recent.all_after(4) == (entry(5), entry(6))
    large = filled(3, size=100)
    assert seqs(large.read(Read(after=0))) == [1]
    assert seqs(large.read(Read())) == [3]


@pytest.mark.parametrize(("keep", "dropped"), [(1, 2), (10, 2), (11, 1), (20, 1), (21, 0)])
def test_pages_go_when_enough_is_kept_without_them(keep: int, dropped: int) -> None:
    pages = [Page(1, 10), Page(11, 20), Page(21, 30)]
    recent = Recent("e", 30, pages)
    assert recent.expired(keep) == pages[:dropped]
    assert recent.pages == pages[dropped:]
    assert recent.oldest == pages[dropped].first


anywhere = st.integers(-1, 30)


class Remembered(RuleBasedStateMachine):
    """Blocks, pages, retention and restarts in any order; read from anywhere in both directions."""

    @initialize(kept=st.integers(1, 6), answer=st.integers(1, 60), keep=st.integers(1, 12))
    def start(self, kept: int, answer: int, keep: int) -> None:
        self.keep = keep
        self.bounds = pytest.MonkeyPatch()
        self.bounds.setattr(module, "KEPT", kept)
        self.bounds.setattr(module, "ANSWER_BYTES", answer)
        self.recent = Recent("e", 0, ())
        self.all: list[Entry] = []
        self.archive: dict[int, list[Entry]] = {}

    def teardown(self) -> None:
        if hasattr(self, "bounds"):
            self.bounds.undo()

    @rule(sizes=st.lists(st.integers(1, 30), max_size=6))
    def commit(self, sizes: list[int]) -> None:
        block = [entry(len(self.all) + 1 + i, size) for i, size in enumerate(sizes)]
        self.all += block
        self.recent.add(block)

    @rule(part=st.floats(0, 1))
    def checkpoint(self, part: float) -> None:
        """As of some seq up to the head: the rest was committed while the page was written."""
        paged, head = self.recent.paged, self.recent.head
        up_to = paged + round(part * (head - paged))
        unpaged = self.recent.unpaged(up_to)
        assert [one.seq for one in unpaged] == list(range(self.recent.paged + 1, up_to + 1))
        if unpaged:
            page = Page(unpaged[0].seq, unpaged[-1].seq)
            self.archive[page.first] = unpaged
            self.recent.page_written(page)
        for page in self.recent.expired(self.keep):
            del self.archive[page.first]
        assert self.recent.head - self.recent.oldest + 1 >= min(self.keep, head)

    @rule()
    def restart(self) -> None:
        """From a snapshot at the end of the last page, and the blocks after it."""
        old = self.recent
        self.recent = Recent("e", old.paged, tuple(old.pages))
        self.recent.add(self.all[old.paged :])

    @rule(after=anywhere, limit=st.integers(1, 5))
    def read_forward(self, after: int, limit: int) -> None:
        found = [one for part in self._forward(after, limit) for one in part]
        assert found == self.all[max(after, self.recent.oldest - 1, 0) :]

    @rule(before=st.none() | anywhere, limit=st.integers(1, 5))
    def read_backward(self, before: int | None, limit: int) -> None:
        found = [one for part in self._backward(before, limit) for one in part]
        upper = len(self.all) if before is None else min(max(before - 1, 0), len(self.all))
        retained = [one for one in self.all[:upper][::-1] if one.seq >= self.recent.oldest]
        # Memory may hold some that are no longer promised.
        assert found[: len(retained)] == retained
        assert found == self.all[:upper][::-1][: len(found)]

    @rule(after=st.integers(0, 30))
    def all_after(self, after: int) -> None:
        found = self.recent.all_after(after)
        if found is None:
            size = sum(len(one.frame) for one in self.all[after:])
            assert size > module.ANSWER_BYTES or after + 1 < self.recent.first
        else:
            assert list(found) == self.all[after:]

    def _forward(self, after: int, limit: int) -> Iterator[list[Entry]]:
        more = True
        while more:
            answer = self._checked(self.recent.read(Read(after=after, limit=limit)), limit)
            found = [one for one in self._resolved(answer) if one.seq > after]
            assert found or not answer.more
            more = answer.more
            after = found[-1].seq if found else after
            yield found

    def _backward(self, before: int | None, limit: int) -> Iterator[list[Entry]]:
        more = True
        while more:
            answer = self._checked(self.recent.read(Read(before=before, limit=limit)), limit)
            found = [one for one in self._resolved(answer) if before is None or one.seq < before]
            assert found or not answer.more
            more = bool(found) and found[0].seq > answer.oldest
            assert more or not answer.pages or found
            before = found[0].seq if found else before
            yield found[::-1]

    def _resolved(self, answer: Entries) -> list[Entry]:
        """As a gateway does it: a page is read as a whole."""
        entries = list(answer.entries)
        for page in answer.pages:
            loaded = self.archive[page.first]
            assert (loaded[0].seq, loaded[-1].seq) == (page.first, page.last)
            assert not entries or loaded[0].seq == entries[-1].seq + 1
            entries += loaded
        return entries

    def _checked(self, answer: Entries, limit: int) -> Entries:
        assert len(answer.entries) <= limit
        size = sum(len(one.frame) for one in answer.entries)
        assert size <= module.ANSWER_BYTES or len(answer.entries) == 1
        assert not (answer.entries and answer.pages)
        assert (answer.head, answer.oldest) == (len(self.all), self.recent.oldest)
        return answer

    @invariant()
    def its_numbers_are_right(self) -> None:
        if hasattr(self, "recent"):
            unpaged = self.all[self.recent.paged :]
            assert self.recent.unpaged_bytes == sum(len(one.frame) for one in unpaged)
            assert self.recent.head == len(self.all)


TestRemembered = Remembered.TestCase
TestRemembered.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)


@given(st.lists(st.integers(1, 20), max_size=6), st.integers(0, 60))
def test_pages_are_found_by_any_seq_in_them(lengths: list[int], seq: int) -> None:
    pages, first = list[Page](), 1
    for length in lengths:
        pages.append(Page(first, first + length - 1))
        first += length
    recent = Recent("e", first - 1, pages)
    found = recent._page_of(seq)
    assert found == tuple(page for page in pages if page.first <= seq <= page.last)
