"""Clients that all come at once: in order, at a pace, and no longer than is bearable."""

import asyncio

from prometheus_client import CollectorRegistry
from tests.support.virtual_time import VirtualLoop, turns, virtual

from roomful_nodes.admission import AWAY_S, PATIENCE_S, Admission, Crowded
from roomful_nodes.metrics import Metrics


class Door:
    """An admission at which 100 may pass in a second, and who came in when."""

    def __init__(self, per_s: float = 100) -> None:
        self.loop = asyncio.get_running_loop()
        self.metrics = Metrics(CollectorRegistry())
        self.admission = Admission(per_s, self.loop, self.metrics)
        self.entered: list[tuple[int, float]] = []
        self.away: list[int] = []
        self.began = self.loop.time()

    async def come(self, number: int) -> None:
        try:
            await self.admission.turn()
        except Crowded as crowded:
            self.away.append(crowded.after_s)
        else:
            self.entered.append((number, self.loop.time() - self.began))


@virtual
async def test_a_few_come_in_at_once() -> None:
    door = Door()
    for number in range(20):
        await door.come(number)
    assert [at for _, at in door.entered] == [0.0] * 20


@virtual
async def test_many_come_in_at_the_pace_in_their_order() -> None:
    door = Door()
    await asyncio.gather(*(door.come(number) for number in range(320)))
    assert [number for number, _ in door.entered] == list(range(320))
    assert all(abs(at - max(0, number - 19) / 100) < 0.03 for number, at in door.entered)


@virtual
async def test_after_a_rest_some_come_at_once_again() -> None:
    door = Door()
    await asyncio.gather(*(door.come(number) for number in range(100)))
    await asyncio.sleep(1)
    before = door.loop.time()
    for number in range(20):
        await door.come(number)
    assert door.loop.time() == before


@virtual
async def test_who_would_wait_too_long_is_told_when_to_come_again_each_a_little_later() -> None:
    door = Door()
    await asyncio.gather(*(door.come(number) for number in range(20 + 500 + 1000)))
    assert len(door.entered) == 520
    assert door.entered[-1][1] <= PATIENCE_S + 0.1
    assert door.away == sorted(door.away)
    assert door.away[0] == PATIENCE_S + 1
    assert door.away[-1] == PATIENCE_S + 1000 / 100
    assert max(door.away.count(after) for after in set(door.away)) <= 101
    assert door.metrics.turned_away_crowded._value.get() == 1000
    assert door.metrics.arrivals._value.get() == 0


@virtual
async def test_nobody_is_sent_away_for_ever() -> None:
    door = Door(per_s=1)
    await asyncio.gather(*(door.come(number) for number in range(200)))
    assert max(door.away) == AWAY_S


@virtual
async def test_a_node_that_cannot_keep_the_pace_lets_fewer_in() -> None:
    door = Door()
    coming = [asyncio.ensure_future(door.come(number)) for number in range(120)]
    await turns()
    before = len(door.entered)
    loop = door.loop
    assert isinstance(loop, VirtualLoop)
    loop._jumping.now += 3  # a handler blocks it
    await turns()
    assert len(door.entered) - before == 2
    await asyncio.gather(*coming)


@virtual
async def test_who_gives_up_takes_nobodys_turn() -> None:
    door = Door()
    coming = [asyncio.ensure_future(door.come(number)) for number in range(60)]
    await turns()
    for one in coming[20:50]:
        one.cancel()
    await asyncio.gather(*coming, return_exceptions=True)
    assert [number for number, _ in door.entered[20:]] == list(range(50, 60))
    assert door.entered[-1][1] < 0.15


@virtual
async def test_a_turn_that_is_given_back_is_the_next_ones() -> None:
    door = Door()
    here = {*range(20), *range(400, 420)}

    async def come(number: int) -> None:
        await door.come(number)
        if number not in here:
            door.admission.give_back()

    await asyncio.gather(*(come(number) for number in range(420)))
    entered = [one for one in door.entered if one[0] in here]
    assert [number for number, _ in entered] == sorted(here)
    assert all(abs(at - max(0, count - 19) / 100) < 0.03 for count, (_, at) in enumerate(entered))


@virtual
async def test_turns_given_back_are_no_more_than_there_were() -> None:
    door = Door()
    for _ in range(50):
        await door.admission.turn()
        door.admission.give_back()
    before = door.loop.time()
    for number in range(20):
        await door.come(number)
    assert door.loop.time() == before
    await door.come(20)
    assert door.loop.time() > before
