"""How a handler's turn ends: all it asked for joins the draft, or nothing of it has happened."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Final

import structlog

from roomful_protocol.blocks import Done, Entry
from roomful_protocol.codecs.events import event_frame
from roomful_protocol.errors import Code, Refused
from roomful_protocol.frames import ClientId
from roomful_protocol.ids import RoomName
from roomful_protocol.messages import Command, Denied, Live, Say
from roomful_rooms.draft import TURN_BYTES, Answered, Reply, TooMuch
from roomful_rooms.effects import Tell, Turn
from roomful_rooms.journal import Journal

MESSAGE: Final = 1000
"""Characters of a refusal's sentence that its sender is told, and the room remembers."""

log = structlog.get_logger()


async def failure_of(waiting: Awaitable[object], limit_s: float) -> Exception | None:
    """Wait for an async handler: why it failed, None if it did not.

    Raises CancelledError if it is the running task that is cancelled, and not something that the
    handler waited for.
    """
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            await waiting
    except TimeoutError as failure:
        if limit.expired():
            return Refused(Code.HANDLER_FAILED, f"The handler took more than {limit_s:g} s.")
        return failure
    except Exception as failure:
        return failure
    except asyncio.CancelledError as cancelled:
        if _cancelled():
            # It leads to the task, which leads to where it was cancelled: no cycle may be left.
            del limit
            raise
        surprise = RuntimeError("What the handler waited for was cancelled.")
        surprise.__cause__ = cancelled
        return surprise
    return None


def _cancelled() -> bool:
    """Whether it is the running task that is to end."""
    task = asyncio.current_task()
    return task is None or bool(task.cancelling())


def take_over(journal: Journal, turn: Turn, ts: int) -> int | None:
    """Have what a handler asked for written, and what it changed stay.

    Returns the seq of its first own event. Raises TypeError or ValueError if something cannot be
    stored or shown, or is too much; then nothing is taken.
    """
    held = journal.held
    if not turn.changes and turn.reply is None and not held.state.drafts:
        return journal.draft.tell(turn.tells, ts) if turn.tells else None
    changed, removed = held.state.changes()
    seq = journal.draft.add(turn, changed, removed, len(held.presence), ts)
    held.state.take(changed, removed)
    return seq


def ephemeral(room: RoomName, tells: Iterable[Tell]) -> Live:
    """What a handler asked for that has no seq. Raises TypeError or ValueError if something cannot
    be shown, or is too much."""
    entries, size = [], 0
    for tell in tells:
        frame = event_frame(tell.type, room, sender=tell.sender, data=tell.data)
        entries.append(Entry(0, frame, tell.audience))
        size += len(frame)
    if size > TURN_BYTES:
        raise TooMuch(size)
    return Live(tuple(entries))


def take_back(journal: Journal, turn: Turn) -> None:
    """Undo what a handler that failed has done."""
    journal.held.presence.restore(turn.before)
    journal.held.state.drop()


def denial(journal: Journal, command: Command, failure: BaseException) -> Denied:
    """What the sender is told of a handler that raised or was late; a bug is logged, not told."""
    if isinstance(failure, Refused) and _well_formed(failure):
        # Not every string that Python holds can be stored.
        message = failure.message[:MESSAGE].encode(errors="replace").decode()
        return Denied(failure.code.slug, message, failure.retry_after_ms)
    if isinstance(failure, TooMuch):
        # What was said may be too large to be told, or the handler told of too much.
        log.warning(
            "room.too_big", room=journal.room, ask=_label(command),
            session=command.sender.session, bytes=failure.size,
        )  # fmt: skip
        return Denied(Code.TOO_BIG.slug, str(failure))
    log.error(
        "room.handler_failed", room=journal.room, ask=_label(command),
        session=command.sender.session, exc_info=failure,
    )  # fmt: skip
    return Denied(Code.HANDLER_FAILED.slug, "The room could not handle that; it is logged.")


def _well_formed(refused: Refused) -> bool:
    """Authors write these by hand, and not all of them check their types."""
    later: object = refused.retry_after_ms
    return (
        isinstance(refused.code, Code)
        and isinstance(refused.message, str)
        and (later is None or isinstance(later, int))
    )


def settle(
    journal: Journal,
    command: Command,
    answered: Answered,
    answer: Reply,
    seq: int | None = None,
    reply: object = None,
    refused: tuple[str, str] | None = None,
) -> None:
    """Have the command answered once what it came to is in the log, and the decision written with
    that: a repeat is answered as the command was. `refused`: code and message, as in `Done`."""
    ask, who, n = command.ask, command.sender, command.n
    id: ClientId | None = None
    if isinstance(ask, Say) and ask.id is not None:
        # Of an ephemeral message, unless something is written: a repeat must not write it again.
        id = None if ask.ephemeral and not journal.draft.effective else ask.id
    if n or id is not None:
        done = Done(who.session, who.attach, n, who.user, id, seq, reply, refused)
        journal.held.ledger.record(done)
        journal.draft.answer(answered, answer, done)
    elif callable(answer):
        # A join: where it has a number, to record that is to attach.
        journal.held.ledger.attach(who.session, who.attach)
        journal.draft.answer(answered, answer)
    else:
        journal.answer(answered, answer)


def _label(command: Command) -> str:
    return command.ask.type if isinstance(command.ask, Say) else type(command.ask).__name__.lower()
