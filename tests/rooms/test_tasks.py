"""Tasks with an owner: named, ended together, and heard of when they fail."""

import asyncio

from structlog.typing import EventDict
from tests.support.virtual_time import turns, virtual

from roomful_rooms.tasks import Tasks


async def forever() -> None:
    await asyncio.Event().wait()


@virtual
async def test_closing_ends_all_and_waits_until_they_have_ended() -> None:
    tasks, cleaned = Tasks("n1"), list[str]()

    async def slow_to_end(name: str) -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(1)
            cleaned.append(name)

    running = [tasks.start(slow_to_end(name), name) for name in "ab"]
    await turns()
    await tasks.close()
    assert sorted(cleaned) == ["a", "b"]
    assert all(task.cancelled() for task in running)
    assert running[0].get_name() == "n1: a"


@virtual
async def test_what_a_task_raises_is_logged_and_the_others_go_on(logged: list[EventDict]) -> None:
    tasks = Tasks("n1")

    async def broken() -> None:
        raise ValueError("a bug")

    other = tasks.start(forever(), "other")
    tasks.start(broken(), "broken")
    await turns()
    assert [(one["event"], one["task"]) for one in logged] == [("task.failed", "n1: broken")]
    assert not other.done()
    await tasks.close()


@virtual
async def test_after_closing_nothing_is_run() -> None:
    tasks, ran = Tasks("n1"), list[int]()

    async def note() -> None:
        ran.append(1)

    await tasks.close()
    late = tasks.start(note(), "late")
    await turns()
    assert late.cancelled()
    assert ran == []


@virtual
async def test_a_task_may_close_its_own_owner() -> None:
    tasks = Tasks("n1")
    other = tasks.start(forever(), "other")

    async def closer() -> str:
        await tasks.close()
        return "done"

    assert await tasks.start(closer(), "closer") == "done"
    assert other.cancelled()


@virtual
async def test_what_is_done_is_forgotten() -> None:
    tasks = Tasks("n1")
    for number in range(100):
        tasks.start(asyncio.sleep(0), str(number))
    await turns()
    assert tasks._running == set()
