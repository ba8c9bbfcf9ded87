"""One append after the other: acknowledged at once, insisted upon, refused, or given up."""

import asyncio
from collections.abc import Callable

import pytest
from tests.support.virtual_time import turns, until, virtual

from roomful_rooms.appends import Appends
from roomful_rooms.epochs import Epochs
from roomful_rooms.log import Conflict
from roomful_rooms.memory_link import Link
from roomful_rooms.memory_log import LogStore, MemoryLog
from roomful_rooms.tasks import Tasks

ROOM = "lobby"


class OnceToldLog(MemoryLog):
    """Tells of single attempts when the test says so, and what it says."""

    def __init__(self, store: LogStore, link: Link | None = None) -> None:
        super().__init__(store, link)
        self.tell: list[Callable[[int | None], None]] = []
        self.writes = True

    def attempt(
        self, room: str, data: bytes, after: int, told: Callable[[int | None], None]
    ) -> None:
        if self.writes:
            super().attempt(room, data, after, lambda _: None)
        self.tell.append(told)


class Bench:
    """Appends to a log of the test's own, and what became of them."""

    def __init__(self) -> None:
        self.store, self.link, self.tasks = LogStore(), Link(), Tasks("test")
        self.log = OnceToldLog(self.store, self.link)
        self.outcomes: list[object] = []
        ids = iter(["epoch"])
        epochs = Epochs(lambda: next(ids), "")
        self.appends = Appends(ROOM, log=self.log, epochs=epochs, tasks=self.tasks)

    def begin(self, data: bytes) -> None:
        self.appends.begin(data, lambda: self.outcomes.append(data), self.outcomes.append)

    @property
    def stored(self) -> list[bytes]:
        return [record.data for record in self.store.read(ROOM, 0, 100)]


@virtual
async def test_what_is_acknowledged_needs_no_task() -> None:
    bench = Bench()
    bench.begin(b"one")
    bench.log.tell.pop()(1)
    assert (bench.outcomes, bench.appends.position) == ([b"one"], 1)
    assert not bench.tasks._running


@pytest.mark.parametrize("lost", [False, True], ids=["unheard", "lost"])
@virtual
async def test_what_is_not_acknowledged_is_written_once_all_the_same(lost: bool) -> None:
    bench = Bench()
    bench.log.writes = not lost
    bench.begin(b"one")
    bench.log.tell.pop()(None)
    assert bench.outcomes == []
    await until(lambda: bench.outcomes)
    assert (bench.outcomes, bench.stored, bench.appends.position) == ([b"one"], [b"one"], 1)
    bench.begin(b"two")
    bench.log.tell.pop()(2)
    assert bench.outcomes == [b"one", b"two"]


@virtual
async def test_who_was_overtaken_is_told() -> None:
    bench = Bench()
    bench.store.append(ROOM, b"another's", 0)
    bench.begin(b"one")
    bench.log.tell.pop()(None)
    await until(lambda: bench.outcomes)
    assert isinstance(bench.outcomes[0], Conflict)
    assert bench.stored == [b"another's"]


@pytest.mark.parametrize("position", [1, None])
@virtual
async def test_nobody_is_told_of_what_was_abandoned(position: int | None) -> None:
    bench = Bench()
    bench.begin(b"one")
    bench.appends.abandon()
    bench.log.tell.pop()(position)
    await turns()
    assert bench.outcomes == []
    assert not bench.tasks._running


@virtual
async def test_abandoning_ends_insisting() -> None:
    bench = Bench()
    bench.log.writes = False
    bench.link.cut()
    bench.begin(b"one")
    bench.log.tell.pop()(None)
    await turns()
    bench.appends.abandon()
    bench.link.mend()
    await turns()
    assert not bench.tasks._running
    assert (bench.stored, [type(one) for one in bench.outcomes]) == ([], [asyncio.CancelledError])


@virtual
async def test_who_may_run_no_more_tasks_is_told_that_the_append_was_cancelled() -> None:
    bench = Bench()
    await bench.tasks.close()
    bench.begin(b"one")
    bench.log.tell.pop()(None)
    await turns()
    assert [type(one) for one in bench.outcomes] == [asyncio.CancelledError]
