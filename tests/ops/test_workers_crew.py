"""Who is started, followed and stopped when, told by workers that are no processes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
from structlog.testing import capture_logs
from tests.support.cluster import until

from roomful.config import Config
from roomful.failure import Failure
from roomful.workers import place
from roomful.workers.crew import Crew
from roomful.workers.line import Order
from roomful.workers.worker import Ended


class Scripted:
    """Takes clients, and ends when told to: or as the test says."""

    made: ClassVar[list["Scripted"]] = []
    """All of them, oldest first."""
    unable: ClassVar[dict[str, Ended]] = {}
    """Workers by id that end before they take clients."""
    pid = 1

    def __init__(self, id: str) -> None:
        self.id = id
        self.told = 0
        self.over: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    @classmethod
    async def start(cls, order: Order) -> Self:
        worker = cls(str(order.config.node_id))
        cls.made.append(worker)
        if worker.id in cls.unable:
            worker.over.set_result(cls.unable[worker.id])
        return worker

    async def ready(self) -> bool:
        return not self.over.done()

    async def ended(self) -> Ended:
        return await self.over

    def ends(self, code: int = 0, reason: str | None = None) -> None:
        self.over.set_result(Ended(code, reason, ready=True))

    def tell(self) -> None:
        self.told += 1
        if self.told == 1 and not self.over.done():
            self.ends()

    def kill(self) -> None:
        if not self.over.done():
            self.ends(-9)

    async def end(self) -> None:
        self.kill()


class Stubborn(Scripted):
    """Drains for ever, unless it is told to hurry."""

    def tell(self) -> None:
        self.told += 1
        if self.told == 2:
            self.ends()


class Slow(Scripted):
    """Would take clients some day."""

    async def ready(self) -> bool:
        await self.over
        return False


BROKEN = Ended(1, "It is broken: mend it.", ready=False)


class Kept:
    """A crew of three, and the task that keeps it. `started`: all take clients."""

    def __init__(self, folder: Path) -> None:
        self.crew = Crew(Config.model_validate({"node_id": "n", "workers": 3}), folder)
        self.started = asyncio.Event()
        self.keeping = asyncio.create_task(self.crew.keep(self.started.set))

    async def up(self) -> list[Scripted]:
        """The three workers, once they take clients."""
        await until(lambda: self.started.is_set() or self.keeping.done(), "all have started")
        assert self.started.is_set()
        return list(Scripted.made)

    async def ended(self) -> None:
        async with asyncio.timeout(5):
            await self.keeping


Start = Callable[..., Kept]


@pytest.fixture
async def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Start]:
    """Keep a crew of workers of this kind; no pause is longer than 4 ms, unless told."""
    crews: list[Kept] = []

    def started(
        kind: type[Scripted] = Scripted, *, pause_s: float = 0.001, **unable: Ended
    ) -> Kept:
        Scripted.made, Scripted.unable = [], unable
        monkeypatch.setattr(place, "Worker", kind)
        monkeypatch.setattr(place, "FIRST_PAUSE_S", pause_s)
        monkeypatch.setattr(place, "LONGEST_PAUSE_S", 0.004)
        crews.append(Kept(tmp_path))
        return crews[-1]

    yield started
    for kept in crews:
        kept.keeping.cancel()
        await asyncio.wait([kept.keeping])


def told(worker: Scripted) -> bool:
    return worker.told > 0


def exits(logs: list[Any]) -> list[tuple[str, str, int, bool]]:
    return [
        (line["log_level"], line["worker"], line["code"], line["ready"])
        for line in logs
        if line["event"] == "worker.exited"
    ]


# -- starting --------------------------------------------------------------------------------------


async def test_all_take_clients(start: Start) -> None:
    assert [worker.id for worker in await start().up()] == ["nw1", "nw2", "nw3"]


async def test_if_the_first_cannot_start_no_other_tries(start: Start) -> None:
    kept = start(nw1=BROKEN)
    with pytest.raises(Failure, match="It is broken: mend it"):
        await kept.ended()
    assert [worker.id for worker in Scripted.made] == ["nw1"]


async def test_if_another_cannot_start_all_end(start: Start) -> None:
    kept = start(nw3=Ended(-11, None, ready=False))
    with pytest.raises(Failure, match=r"A worker did not start \(killed by signal 11\)"):
        await kept.ended()
    assert not kept.started.is_set()
    assert all(worker.over.done() for worker in Scripted.made)


async def test_told_to_stop_before_all_have_started(start: Start) -> None:
    kept = start(Slow)
    await until(lambda: Scripted.made, "the first is on its way")
    kept.crew.stop()
    await kept.ended()
    assert [worker.id for worker in Scripted.made] == ["nw1"]
    assert not kept.started.is_set()


# -- following -------------------------------------------------------------------------------------


async def test_one_that_dies_is_followed_and_nobody_else_disturbed(start: Start) -> None:
    one, two, three = await start().up()
    with capture_logs() as logs:
        two.ends(-9)
        await until(lambda: len(Scripted.made) == 4, "another follows")
    assert Scripted.made[3].id == "nw2"
    assert exits(logs) == [("error", "nw2", -9, True)]
    assert (one.told, three.told) == (0, 0)


async def test_one_that_ends_well_without_being_told_is_followed_too(start: Start) -> None:
    one, *_ = await start().up()
    with capture_logs() as logs:
        one.ends()
        await until(lambda: len(Scripted.made) == 4, "another follows")
    assert exits(logs) == [("info", "nw1", 0, True)]


async def test_later_one_that_cannot_start_tries_again_after_growing_pauses(start: Start) -> None:
    kept = start()
    one, *others = await kept.up()
    with capture_logs() as logs:
        Scripted.unable["nw1"] = BROKEN
        one.ends(1, "The broker has left.")
        await until(lambda: len(exits(logs)) >= 5, "it tries again and again")
        Scripted.unable.clear()
        await until(lambda: not Scripted.made[-1].over.done(), "it comes up at last")
    lines = [line for line in logs if line["event"] == "worker.exited"]
    assert [line["pause_s"] for line in lines[:5]] == [0.001, 0.002, 0.004, 0.004, 0.004]
    assert [line["reason"] for line in lines[:2]] == ["The broker has left.", BROKEN.reason]
    assert [worker.told for worker in others] == [0, 0]
    assert not kept.keeping.done()


async def test_a_process_that_cannot_be_made_is_tried_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, *_ = await start().up()
    made = Scripted.start
    failures = [Failure("Out of memory.")]

    async def fails_once(order: Order) -> Scripted:
        if failures:
            raise failures.pop()
        return await made(order)

    monkeypatch.setattr(Scripted, "start", fails_once)
    with capture_logs() as logs:
        one.ends(-9)
        await until(lambda: len(Scripted.made) == 4, "another follows")
    assert exits(logs) == [("error", "nw1", -9, True), ("error", "nw1", 1, False)]


async def test_when_none_is_left_and_none_can_start_all_is_over(start: Start) -> None:
    kept = start()
    workers = await kept.up()
    Scripted.unable = {worker.id: BROKEN for worker in workers}
    for worker in workers:
        worker.ends(1)
    with pytest.raises(Failure, match="It is broken: mend it"):
        await kept.ended()


# -- stopping --------------------------------------------------------------------------------------


async def test_all_are_told_to_stop_at_once_and_nobody_follows(start: Start) -> None:
    kept = start()
    workers = await kept.up()
    kept.crew.stop()
    await kept.ended()
    assert [worker.told for worker in workers] == [1, 1, 1]
    assert len(Scripted.made) == 3


async def test_told_again_they_hurry(start: Start) -> None:
    kept = start(Stubborn)
    workers = await kept.up()
    kept.crew.stop()
    assert not any(worker.over.done() for worker in workers)
    kept.crew.stop()
    await kept.ended()
    assert [worker.told for worker in workers] == [2, 2, 2]


async def test_those_who_do_not_hurry_are_killed(start: Start) -> None:
    kept = start(Stubborn)
    one, *_ = await kept.up()
    kept.crew.stop()
    one.ends()
    kept.crew.kill()
    with pytest.raises(Failure, match="nw2 did not end in good order: killed by signal 9"):
        await kept.ended()


async def test_one_that_ends_badly_is_told_at_the_end(start: Start) -> None:
    kept = start(Stubborn)
    one, two, three = await kept.up()
    kept.crew.stop()
    two.ends(1, "The broker has left.")
    one.ends()
    three.ends()
    with pytest.raises(Failure, match="nw2 did not end in good order: The broker has left"):
        await kept.ended()


async def test_one_that_waits_to_be_started_again_does_not_hold_up_the_end(start: Start) -> None:
    kept = start(pause_s=60)
    one, *_ = await kept.up()
    with capture_logs() as logs:
        one.ends(-9)
        await until(lambda: exits(logs), "it waits")
    kept.crew.stop()
    await kept.ended()


# -- renewing --------------------------------------------------------------------------------------


async def test_they_are_renewed_one_after_the_other(start: Start) -> None:
    kept = start(Stubborn)
    first = await kept.up()
    renewing = asyncio.create_task(kept.crew.renew())
    with capture_logs() as logs:
        for old in first:
            await until(partial(told, old), f"{old.id} drains")
            after = first[first.index(old) + 1 :]
            assert not any(worker.told for worker in after)
            old.ends()
        await renewing
    assert [worker.id for worker in Scripted.made[3:]] == ["nw1", "nw2", "nw3"]
    # Nobody waits for a place to be taken again.
    assert [line["pause_s"] for line in logs if line["event"] == "worker.exited"] == [0, 0, 0]


async def test_if_one_cannot_follow_the_others_stay(start: Start) -> None:
    kept = start()
    one, two, three = await kept.up()
    Scripted.unable["nw1"] = BROKEN
    with capture_logs() as logs:
        await kept.crew.renew()
    assert (one.told, two.told, three.told) == (1, 0, 0)
    assert [line["worker"] for line in logs if line["event"] == "workers.not_renewed"] == ["nw1"]
    assert not kept.keeping.done()


async def test_one_that_has_just_died_is_passed_over(start: Start) -> None:
    kept = start(pause_s=60)
    one, two, three = await kept.up()
    with capture_logs() as logs:
        one.ends(-9)
        await until(lambda: exits(logs), "it waits")
        await kept.crew.renew()
    assert (one.told, two.told, three.told) == (0, 1, 1)


async def test_told_to_stop_the_one_that_is_being_renewed_need_not_hurry(start: Start) -> None:
    kept = start(Stubborn)
    one, two, three = await kept.up()
    renewing = asyncio.create_task(kept.crew.renew())
    await until(partial(told, one), "it drains")
    kept.crew.stop()
    assert (one.told, two.told, three.told) == (1, 1, 1)
    kept.crew.stop()
    await kept.ended()
    assert (one.told, two.told, three.told) == (2, 2, 2)
    assert len(Scripted.made) == 3
    renewing.cancel()
    await asyncio.wait([renewing])
