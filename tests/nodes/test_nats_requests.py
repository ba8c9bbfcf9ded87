"""Requests and their answers, with a scripted broker: deadlines, series, loss, late answers."""

import asyncio
from collections.abc import Callable

import pytest
from tests.support.twins import until

from roomful_nodes.nats_requests import NoAnswer, NobodyThere, Requests

EOB = b"NATS/1.0 204 EOB\r\n\r\n"
NOBODY = b"NATS/1.0 503\r\n\r\n"
HEADER = b"NATS/1.0\r\nNats-Sequence: 1\r\n\r\n"


class Broker:
    """Takes what is posted and lets the test answer."""

    def __init__(self) -> None:
        self.inboxes: list[bytes] = []
        self.takes = True
        self.requests = Requests(self.post, "inbox.")

    def post(self, subject: bytes, payload: bytes, header: bytes | None, reply: bytes) -> bool:
        self.inboxes.append(reply)
        return self.takes

    def answer(self, number: int, payload: bytes, header: bytes | None = None) -> None:
        self.requests.heard(self.inboxes[number], None, header, payload)

    def ask(self, timeout_s: float = 5.0) -> "asyncio.Task[object]":
        return asyncio.create_task(self.requests.one(b"s", b"", None, timeout_s))

    def ask_series(self, timeout_s: float = 5.0, stall_s: float = 5.0) -> "asyncio.Task[object]":
        return asyncio.create_task(self.requests.series(b"s", b"", timeout_s, stall_s))


@pytest.fixture
async def broker() -> Broker:
    return Broker()


async def test_answers_find_who_asked_in_any_order(broker: Broker) -> None:
    first, second = broker.ask(), broker.ask()
    await asyncio.sleep(0)
    broker.answer(1, b"two")
    broker.answer(0, b"one", HEADER)
    assert await first == (HEADER, b"one")
    assert await second == (None, b"two")


async def test_who_does_not_wait_is_told_the_answer_in_the_turn_in_which_it_comes(
    broker: Broker,
) -> None:
    told: list[object] = []
    broker.requests.ask(b"s", b"", None, 5.0, told.append)
    broker.answer(0, b"one", HEADER)
    broker.answer(0, b"again", HEADER)
    assert told == [(HEADER, b"one")]


async def test_who_does_not_wait_is_told_once_that_there_is_no_answer(broker: Broker) -> None:
    told: list[object] = []
    for _ in range(3):
        broker.requests.ask(b"s", b"", None, 0.01, told.append)
    broker.answer(0, b"", NOBODY)
    broker.requests.fail_all("the connection was lost")
    broker.requests.ask(b"s", b"", None, 0.01, told.append)
    await until(lambda: len(told) == 4)
    broker.takes = False
    broker.requests.ask(b"s", b"", None, 0.01, told.append)
    assert [type(one) for one in told] == [NobodyThere] + [NoAnswer] * 4
    assert [str(one) for one in told[1:]] == [
        *["the connection was lost"] * 2, "no answer in time", "too much is waiting to be sent",
    ]  # fmt: skip


async def test_silence_is_no_answer(broker: Broker) -> None:
    with pytest.raises(NoAnswer, match="in time"):
        await broker.ask(0.01)


async def test_a_late_answer_harms_nobody(broker: Broker) -> None:
    with pytest.raises(NoAnswer):
        await broker.ask(0.01)
    broker.answer(0, b"late")
    asked = broker.ask()
    await asyncio.sleep(0)
    broker.answer(1, b"in time")
    assert await asked == (None, b"in time")


async def test_an_answer_to_one_who_gave_up_harms_nobody(broker: Broker) -> None:
    asked = broker.ask()
    await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    broker.answer(0, b"late")


async def test_nobody_there_is_known_at_once(broker: Broker) -> None:
    asked = broker.ask()
    await asyncio.sleep(0)
    broker.answer(0, b"", NOBODY)
    with pytest.raises(NobodyThere):
        await asked


async def test_a_lost_connection_leaves_all_without_answer(broker: Broker) -> None:
    tasks = [broker.ask(), broker.ask_series()]
    await asyncio.sleep(0)
    broker.requests.fail_all("the connection was lost")
    for task in tasks:
        with pytest.raises(NoAnswer, match="lost"):
            await task


async def test_what_cannot_be_sent_has_no_answer(broker: Broker) -> None:
    broker.takes = False
    with pytest.raises(NoAnswer, match="waiting"):
        await broker.ask()


async def test_a_series_ends_with_a_status(broker: Broker) -> None:
    asked = broker.ask_series()
    await asyncio.sleep(0)
    broker.answer(0, b"one", HEADER)
    broker.answer(0, b"two", HEADER)
    broker.answer(0, b"", EOB)
    broker.answer(0, b"too late", HEADER)
    assert await asked == [(HEADER, b"one"), (HEADER, b"two"), (EOB, b"")]


@pytest.mark.parametrize("answer", [lambda _: None, lambda broker: broker.answer(0, b"1", HEADER)])
async def test_a_series_that_stalls_has_no_answer(
    broker: Broker, answer: Callable[[Broker], None]
) -> None:
    asked = broker.ask_series(0.01, 0.01)
    await asyncio.sleep(0)
    answer(broker)
    with pytest.raises(NoAnswer, match="in time"):
        await asked


async def test_each_answer_of_a_series_has_its_own_deadline(broker: Broker) -> None:
    asked = broker.ask_series(0.25, 5.0)
    await asyncio.sleep(0)
    broker.answer(0, b"one", HEADER)
    done, _ = await asyncio.wait([asked], timeout=0.5)
    assert not done
    broker.answer(0, b"", EOB)
    assert await asked == [(HEADER, b"one"), (EOB, b"")]
