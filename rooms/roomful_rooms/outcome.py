"""How a handler's turn ends: all it asked for joins the draft, or nothing of it has happened."""

import asyncio
from collections.abc import Awaitable
from typing import Final

import structlog

from roomful_protocol.blocks import Done, Entry
from roomful_protocol.errors import Code, Refused
from roomful_protocol.messages import Command, Denied, Enter, Live, Say
from roomful_rooms.draft import TURN_BYTES, TooMuch, frame_of
from roomful_rooms.effects import Turn
from roomful_rooms.journal import Journal
from roomful_rooms.state import UNCHANGED

MESSAGE: Final = 1000
"""Characters of a refusal's sentence that its sender is told, and the room remembers."""
SILENCE: Final = Live()

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


def take_over(journal: Journal, turn: Turn, ts: int) -> tuple[int | None, Live]:
    """Have what a handler asked for written, and what it changed stay.

    Returns the seq of its first own event, and its ephemeral ones. Raises TypeError or ValueError
    if something cannot be stored or shown, or is too much; then nothing is taken.
    """
    held = journal.held
    live = _live(journal, turn) if turn.lives else SILENCE
    changes = changed, removed = held.state.changes()
    seq = None
    if turn.tells or turn.changes or changed or removed or turn.reply is not None:
        count = len(held.presence) if turn.changes else 0
        seq = journal.draft.add(turn, changed, removed, count, ts)
    if changes is not UNCHANGED:
        held.state.take(changed, removed)
    return seq, live


def _live(journal: Journal, turn: Turn) -> Live:
    entries = tuple([Entry(0, frame_of(tell, journal.room), tell.audience) for tell in turn.lives])
    if (size := sum(len(entry.frame) for entry in entries)) > TURN_BYTES:
        raise TooMuch(f"One handler may say at most {TURN_BYTES} bytes; this is {size}.")
    return Live(entries)


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


def remember(
    journal: Journal, command: Command, seq: int | None, reply: object, denied: Denied | None = None
) -> None:
    """Have the decision written with the block, so that a repeat is answered as the command was."""
    ask, who, ledger, id = command.ask, command.sender, journal.held.ledger, None
    if isinstance(ask, Say):
        id = None if ask.ephemeral else ask.id
    elif isinstance(ask, Enter) and denied is None and not command.n:
        # Where it has a number, to record that is to attach.
        ledger.attach(who.session, who.attach)
    if command.n or id is not None:
        refused = None if denied is None else (denied.code, denied.message)
        done = Done(who.session, who.attach, command.n, who.user, id, seq, reply, refused)
        ledger.record(done)
        journal.draft.decide(done)


def _label(command: Command) -> str:
    return command.ask.type if isinstance(command.ask, Say) else type(command.ask).__name__.lower()
