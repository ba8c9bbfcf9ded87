"""Many that wait for the same time: each gets its own, by one timer."""

import asyncio

from tests.support.virtual_time import virtual

from roomful_nodes.delays import AT_ONCE, Delays


class Waiting:
    """Delays of a second, and what was over when, since the beginning."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.began = self.loop.time()
        self.over: list[tuple[str, float]] = []
        self.delays = Delays[str](1.0, self._note, self.loop)

    def _note(self, one: str) -> None:
        self.over.append((one, round(self.loop.time() - self.began, 2)))


@virtual
async def test_each_is_over_after_its_own_time() -> None:
    waiting = Waiting()
    for name in "abc":
        waiting.delays.begin(name)
        await asyncio.sleep(0.4)
    await asyncio.sleep(5)
    assert waiting.over == [("a", 1.0), ("b", 1.4), ("c", 1.8)]
    assert not any(name in waiting.delays for name in "abc")


@virtual
async def test_what_is_called_off_is_not_over_and_what_begins_anew_is_later() -> None:
    waiting = Waiting()
    for name in "abc":
        waiting.delays.begin(name)
    await asyncio.sleep(0.5)
    waiting.delays.call_off("a")
    waiting.delays.call_off("nobody")
    waiting.delays.begin("b")
    await asyncio.sleep(5)
    assert waiting.over == [("c", 1.0), ("b", 1.5)]


@virtual
async def test_what_is_over_may_begin_again_at_once() -> None:
    waiting = Waiting()
    again = iter(["b"])

    def over(one: str) -> None:
        waiting.over.append((one, round(waiting.loop.time() - waiting.began, 2)))
        for next_one in again:
            delays.begin(next_one)

    delays = Delays[str](1.0, over, waiting.loop)
    delays.begin("a")
    await asyncio.sleep(5)
    assert waiting.over == [("a", 1.0), ("b", 2.0)]


@virtual
async def test_nothing_is_over_after_the_end() -> None:
    waiting = Waiting()
    waiting.delays.begin("a")
    assert "a" in waiting.delays
    waiting.delays.close()
    await asyncio.sleep(5)
    assert waiting.over == []


@virtual
async def test_what_begins_while_another_is_over_keeps_nobody_waiting() -> None:
    waiting = Waiting()

    def over(one: str) -> None:
        waiting.over.append((one, round(waiting.loop.time() - waiting.began, 2)))
        if one == "a":
            delays.begin("c")

    delays = Delays[str](1.0, over, waiting.loop)
    delays.begin("a")
    await asyncio.sleep(0.4)
    delays.begin("b")
    await asyncio.sleep(5)
    assert waiting.over == [("a", 1.0), ("b", 1.4), ("c", 2.0)]


@virtual
async def test_one_that_fails_keeps_nobody_waiting() -> None:
    waiting = Waiting()
    problems: list[dict[str, object]] = []
    waiting.loop.set_exception_handler(lambda _, context: problems.append(context))

    def over(one: str) -> None:
        waiting.over.append((one, round(waiting.loop.time() - waiting.began, 2)))
        if one == "a":
            raise RuntimeError("a bug")

    delays = Delays[str](1.0, over, waiting.loop)
    for name in "ab":
        delays.begin(name)
    await asyncio.sleep(0.4)
    delays.begin("c")
    await asyncio.sleep(5)
    assert waiting.over == [("a", 1.0), ("b", 1.0), ("c", 1.4)]
    assert str(problems[0]["exception"]) == "a bug"


@virtual
async def test_thousands_that_are_over_at_once_leave_turns_to_others() -> None:
    waiting = Waiting()
    for number in range(3 * AT_ONCE):
        waiting.delays.begin(str(number))
    seen = [len(waiting.over)]
    while seen[-1] < 3 * AT_ONCE:
        await asyncio.sleep(0 if seen[-1] else 1.0)
        seen.append(len(waiting.over))
    assert {AT_ONCE, 2 * AT_ONCE} <= set(seen)
    assert {at for _, at in waiting.over} == {1.0}


@virtual
async def test_the_end_of_one_may_call_off_another_or_begin_it_anew() -> None:
    waiting = Waiting()

    def over(one: str) -> None:
        waiting.over.append((one, round(waiting.loop.time() - waiting.began, 2)))
        if one == "a":
            delays.call_off("b")
            delays.begin("c")

    delays = Delays[str](1.0, over, waiting.loop)
    for name in "abcd":
        delays.begin(name)
    await asyncio.sleep(5)
    assert waiting.over == [("a", 1.0), ("d", 1.0), ("c", 2.0)]
