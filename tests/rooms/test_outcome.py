"""How a handler's turn ends: why it failed, and what its sender is told."""

import asyncio

import pytest
from structlog.typing import EventDict
from tests.support.hosting import Person, world
from tests.support.virtual_time import turns, virtual

from roomful_protocol.errors import Code, Refused
from roomful_protocol.messages import Denied
from roomful_rooms.outcome import MESSAGE, denial, failure_of


async def raising(failure: BaseException) -> None:
    await asyncio.sleep(0)
    raise failure


@virtual
async def test_a_handler_that_succeeds_has_no_failure() -> None:
    assert await failure_of(asyncio.sleep(1), limit_s=2) is None


@virtual
async def test_what_a_handler_raises_is_its_failure() -> None:
    for failure in (ValueError("a bug"), Refused(Code.BUSY, "Later.")):
        assert await failure_of(raising(failure), limit_s=2) is failure


@virtual
async def test_a_timeout_of_the_handlers_own_is_not_its_time_limit() -> None:
    own = TimeoutError("a database, say")
    assert await failure_of(raising(own), limit_s=2) is own
    late = await failure_of(asyncio.sleep(3), limit_s=2)
    assert isinstance(late, Refused)
    assert late.message == "The handler took more than 2 s."


@virtual
async def test_a_cancellation_of_what_it_waits_for_is_a_bug_and_of_itself_is_not_swallowed() -> (
    None
):
    inner = await failure_of(raising(asyncio.CancelledError()), limit_s=2)
    assert isinstance(inner, RuntimeError)
    running = asyncio.create_task(failure_of(asyncio.sleep(60), limit_s=100))
    await turns()
    running.cancel()
    await turns()
    assert running.cancelled()


@pytest.mark.parametrize(
    ("failure", "told", "logs"),
    [
        (Refused(Code.BUSY, "Later.", retry_after_ms=5), Denied("busy", "Later.", 5), 0),
        (Refused(Code.FORBIDDEN, "x" * 2000), Denied("forbidden", "x" * MESSAGE), 0),
        (Refused(Code.FORBIDDEN, "\udc00"), Denied("forbidden", "?"), 0),
        (ValueError("a bug"), None, 1),
        (Refused("forbidden", "No."), None, 1),  # type: ignore[arg-type]
        (Refused(Code.FORBIDDEN, ValueError()), None, 1),  # type: ignore[arg-type]
        (Refused(Code.BUSY, "x", retry_after_ms="soon"), None, 1),  # type: ignore[arg-type]
    ],
)
@virtual
async def test_what_the_sender_is_told(
    failure: Exception, told: Denied | None, logs: int, logged: list[EventDict]
) -> None:
    async with world() as w:
        ann = await Person(w, w.node(), "ann").entered()
        asked = ann.say("hi")
        journal = ann.node.host._actors["lobby"].journal
        logged.clear()
        answer = denial(journal, asked.command, failure)
        assert answer == (told or Denied("handler_failed", answer.message))
        assert len(logged) == logs
        if logs:
            assert (logged[0]["event"], logged[0]["ask"]) == ("room.handler_failed", "chat.message")
            assert logged[0]["exc_info"] is failure
