"""What has to be asked once more is asked in order, soon where there is hope, and not too often."""

import asyncio
from dataclasses import dataclass

import pytest
from tests.support.virtual_time import virtual

from roomful_nodes.lane import Lane
from roomful_nodes.retries import PAUSE_S, Retries
from roomful_protocol.messages import Sender


@dataclass
class Asked:
    reference: int
    lane: Lane


class Attempts:
    """Notes when, after how many seconds, what is attempted; `turned_away` is added again."""

    def __init__(self) -> None:
        self.retries: Retries[Asked] = Retries(self._attempt)
        self.made: list[tuple[int, int]] = []
        self.turned_away: set[int] = set()
        self.began = asyncio.get_running_loop().time()

    def _attempt(self, question: Asked) -> None:
        after = asyncio.get_running_loop().time() - self.began
        self.made.append((question.reference, round(after * 1000)))
        if question.reference in self.turned_away:
            self.retries.add(question)


def lane(user: str = "ann") -> Lane:
    return Lane("lobby", Sender(f"{user}-s", user, user.title(), "n1", "a"), lambda *_: None)


@virtual
async def test_what_waits_on_a_lane_is_asked_together_and_in_order() -> None:
    attempts, ann = Attempts(), lane()
    for reference in (7, 3, 12):
        attempts.retries.add(Asked(reference, ann))
    assert attempts.retries.hold(ann)
    assert not attempts.retries.hold(lane())
    await asyncio.sleep(1)
    assert attempts.made == [(3, 5), (7, 5), (12, 5)]
    assert not attempts.retries.hold(ann)


@virtual
async def test_a_lane_of_which_nothing_is_answered_waits_ever_longer() -> None:
    attempts, ann, bob = Attempts(), lane(), lane("bob")
    attempts.turned_away = {1, 2}
    attempts.retries.add(Asked(1, ann))
    attempts.retries.add(Asked(2, ann))
    await asyncio.sleep(0.3)
    assert [at for reference, at in attempts.made if reference == 1] == [5, 15, 35, 75, 155, 255]
    assert [at for reference, at in attempts.made if reference == 2] == [5, 15, 35, 75, 155, 255]
    attempts.made.clear()
    attempts.retries.add(Asked(3, bob))
    await asyncio.sleep(0.01)
    assert attempts.made == [(3, 305)], "that is none of the other lane's business"


@virtual
async def test_once_one_is_answered_the_others_are_asked_soon() -> None:
    attempts, ann = Attempts(), lane()
    one, other = Asked(1, ann), Asked(2, ann)
    attempts.turned_away = {1, 2}
    attempts.retries.add(one)
    attempts.retries.add(other)
    await asyncio.sleep(0.16)
    attempts.made.clear()
    attempts.turned_away = set()
    attempts.retries.settled(one)
    await asyncio.sleep(0.2)
    assert attempts.made == [(2, 160 + PAUSE_S[0] * 1000)]
    attempts.retries.settled(other)
    assert not attempts.retries.lanes


@virtual
async def test_answers_that_keep_coming_put_nothing_off() -> None:
    attempts, ann = Attempts(), lane()
    attempts.retries.add(Asked(1, ann))
    for reference in range(2, 20):
        attempts.retries.settled(Asked(reference, ann))
        await asyncio.sleep(0.001)
    assert attempts.made == [(1, 5)]


@pytest.mark.parametrize("elsewhere", [True, False])
@virtual
async def test_who_may_be_served_elsewhere_now_need_not_wait(elsewhere: bool) -> None:
    attempts, ann = Attempts(), lane()
    for reference in (1, 2):
        attempts.retries.add(Asked(reference, ann))
    attempts.retries.hurry(lambda one: elsewhere and one.reference == 2)
    await asyncio.sleep(1)
    at = 0 if elsewhere else 5
    assert attempts.made == [(1, at), (2, at)], "each once"
