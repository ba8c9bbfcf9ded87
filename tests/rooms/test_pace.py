"""When what has gathered goes further."""

import asyncio

import pytest
from tests.support.virtual_time import turns, virtual

from roomful_rooms.pace import PACE_S, Pace


def _noting(done: list[float]) -> None:
    done.append(asyncio.get_running_loop().time())


@virtual
async def test_what_comes_one_at_a_time_waits_for_nothing() -> None:
    pace, done = Pace(asyncio.get_running_loop()), list[float]()
    began = asyncio.get_running_loop().time()
    for _ in range(3):
        pace.call(lambda: _noting(done))
        await turns()
    assert done == [began] * 3


@virtual
async def test_where_much_comes_it_goes_at_a_pace() -> None:
    pace, done = Pace(asyncio.get_running_loop()), list[float]()
    began = asyncio.get_running_loop().time()
    pace.busy = True
    for _ in range(3):
        pace.call(lambda: _noting(done))
        await turns()
    assert done == [began], "the first one at once"
    await asyncio.sleep(5 * PACE_S)
    assert done == pytest.approx([began, began + PACE_S, began + 2 * PACE_S])
    pace.call(lambda: _noting(done))
    await turns()
    assert done[3] == pytest.approx(began + 5 * PACE_S), "after a pause the first one again"
