"""The answers to a join and to a look: where the room stands, who is here, what was missed."""

from collections.abc import Callable

from roomful_protocol.frames import Since
from roomful_protocol.messages import Enter, Listing, Read, Welcome, Who
from roomful_rooms.draft import Answered, give
from roomful_rooms.journal import Journal
from roomful_rooms.recent import Recent


def welcome(journal: Journal, enter: Enter) -> Callable[[], Welcome]:
    """Make the answer once the join is in the log: it is true at the end of the join's block."""
    draft = journal.draft
    draft.welcomes = True

    def answer() -> Welcome:
        recent = journal.recent
        start, recovered, gap = served_from(enter.since, enter.epoch, recent)
        # All joins of one block are told the same members: those at its end.
        count, listed = draft.members_at_end
        return Welcome(
            seq=recent.head,
            epoch=recent.epoch,
            count=count,
            listed=listed,
            start=start,
            entries=recent.all_after(start),
            recovered=recovered,
            gap=gap,
        )

    return answer


def look(journal: Journal, ask: Read | Who, answered: Answered) -> None:
    """Answer what needs no handler."""
    if isinstance(ask, Read):
        # Out of turn, and even if the mailbox is full: all that is here is committed.
        give(answered, journal.recent.read(ask))
    else:
        # A list may not overtake what is still on its way to the log.
        journal.answer(answered, _listing(journal))


def _listing(journal: Journal) -> Listing:
    """The members once all that is decided by now is in the log."""
    presence, draft = journal.held.presence, journal.draft
    # Whoever joins later must not share the entry at whose seq this list is true.
    draft.seal()
    return Listing(draft.last, journal.epoch, len(presence), presence.listed())


def served_from(
    since: Since, epoch: str | None, recent: Recent
) -> tuple[int, bool, tuple[int, int, str] | None]:
    """The seq after which to serve a client, whether that is all it missed, and the gap if not."""
    head, oldest = recent.head, recent.oldest
    if since.last is not None:
        return max(head - since.last, oldest - 1), False, None
    if since.after is None:
        return head, False, None
    if epoch is not None and epoch != recent.epoch:
        # Its numbers belong to a log that is gone: what it has missed since cannot be told.
        return head, False, (since.after + 1, max(head, since.after + 1), "epoch")
    if since.after > head:
        return head, False, (head + 1, since.after, "lost")
    if since.after < oldest - 1:
        return oldest - 1, False, (since.after + 1, oldest - 1, "retention")
    return since.after, True, None
