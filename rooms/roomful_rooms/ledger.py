"""What has been decided already: the memory that makes retries take effect at most once.

Two keys lead to a decision. (attach, n) is the gateway's: it may pipeline and retry. The client's
own `id` is the other: within the session, and, where it is a string of `GLOBAL_ID` characters or
more (a UUID, say), for all sessions of the user, so that it survives the loss of a session.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, NamedTuple

from msgspec.structs import replace

from roomful_protocol.blocks import Done, Member
from roomful_protocol.errors import Code
from roomful_protocol.frames import ClientId
from roomful_protocol.ids import SessionId, connection_of
from roomful_protocol.messages import (
    MOVED,
    Accepted,
    Answer,
    Ask,
    Command,
    Denied,
    Enter,
    Exit,
    Say,
    Sender,
)

GLOBAL_ID: Final = 16
"""Characters from which on a string id is taken to be unique among all sessions of its user."""
REMEMBERED: Final = 4096
"""Ids kept per room, and numbers whose answers may still be asked for; older ones are forgotten
first. Half as many more may come before they are: so that it is seldom looked at."""
LINKS: Final = 65_536
"""Sessions whose numbers are kept per room; those that sent nothing for longest are forgotten."""

_Key = tuple[str, ClientId]


@dataclass(slots=True)
class Link:
    """One session's numbered commands: its attachment, the last number decided, those before it.

    `base`: the lowest number that its gateway may still ask for. `decided`: what was decided under
    the numbers from there on, in order; and before them what has not been forgotten yet.
    """

    attach: str
    last: int = 0
    base: int = 0
    superseded: tuple[str, ...] = ()
    decided: list[Done] = field(default_factory=list)

    def find(self, n: int) -> Done | None:
        """What was decided under the number `n`, if that is still known."""
        at = bisect_left(self.decided, n, key=_number)
        return self.decided[at] if at < len(self.decided) and self.decided[at].n == n else None

    def keep(self, done: Done) -> None:
        """Keep a decision before the last one in its place, instead of the one that is there."""
        decided, n = self.decided, done.n
        at = bisect_left(decided, n, key=_number)
        there = at < len(decided) and decided[at].n == n
        decided[at : at + there] = [done]

    def forget(self) -> None:
        """Drop what was decided under numbers that are not asked for any more."""
        if self.decided and self.decided[0].n < self.base:
            del self.decided[: bisect_left(self.decided, self.base, key=_number)]


def _number(done: Done) -> int:
    return done.n


class Kept(NamedTuple):
    """The decisions of a ledger, to be recorded in this order: the `known` ones only by their ids,
    the `numbered` ones only by their numbers, for each of the two has an order of its own in which
    it is forgotten."""

    known: tuple[Done, ...]
    numbered: tuple[Done, ...]


def newer(attach: str, than: str) -> bool:
    """Whether a session's attachment was made over a later connection than another one."""
    return connection_of(attach) > connection_of(than)


def _id_key(by: Sender | Done, id: ClientId) -> _Key:
    # A user's and a session's do not meet: which of the two it is depends on nothing but the id.
    return (by.user if isinstance(id, str) and len(id) >= GLOBAL_ID else by.session, id)


class Ledger:
    """Decisions and numbers of a room, bounded; rebuilt from `Done` records."""

    def __init__(self, done: Iterable[Done] = ()) -> None:
        self._ids: dict[_Key, Done] = {}
        self._links: OrderedDict[SessionId, Link] = OrderedDict()
        self._spare = 0
        self._resting: dict[SessionId, tuple[str, int]] = {}
        for decision in done:
            self.record(decision)

    def link(self, session: SessionId, attach: str) -> Link | None:
        """The session's link if `attach` is its current attachment."""
        link = self._links.get(session)
        return link if link is not None and link.attach == attach else None

    def superseded(self, session: SessionId, attach: str) -> bool:
        """True if the session has since been attached elsewhere: the asker is a ghost."""
        link = self._links.get(session)
        if link is None or link.attach == attach:
            return False
        return attach in link.superseded or newer(link.attach, attach)

    def attach(self, session: SessionId, attach: str) -> Link:
        """The session's link under `attach`; numbers begin anew if that is another attachment."""
        link = self._links.get(session)
        if link is not None and link.attach == attach:
            self._links.move_to_end(session)
            return link
        superseded: tuple[str, ...] = ()
        if link is not None:
            # A short memory will do: a gateway that let go of a session soon stops asking for it.
            ghosts = [ghost for ghost in (*link.superseded, link.attach) if ghost != attach]
            superseded = tuple(ghosts[-8:])
            del self._links[session]
        link = self._links[session] = Link(attach, superseded=superseded)
        if len(self._links) > LINKS:
            self._links.popitem(last=False)
        return link

    def forget(self, members: Container[SessionId]) -> None:
        """Forget the numbers of sessions that are not among `members` and that nothing was decided
        for since the last time: their gateways have given up by then what they still asked."""
        resting = {
            session: (link.attach, link.last)
            for session, link in self._links.items()
            if session not in members
        }
        for session in [one for one, at in resting.items() if self._resting.get(one) == at]:
            del self._links[session], resting[session]
        self._resting = resting

    def verdict(self, command: Command, member: Member | None) -> Answer | None:
        """The answer to a command that must not be carried out (again); None: carry it out.

        `member`: the sender's session as it is in the room now, if it is.
        """
        sender, ask, n = command.sender, command.ask, command.n
        here = member is not None and member.attach == sender.attach
        if not here and (elsewhere := self._elsewhere(sender, ask, member)) is not None:
            return elsewhere
        if n:
            base, link, last = command.base, self._links.get(sender.session), 0
            if link is not None and link.attach == sender.attach:
                link.base, last = base, link.last
                if n <= last:
                    return self._repeated(command, link, here)
            if n != last + 1 and n != base:
                return MOVED
        if isinstance(ask, Say) and ask.id is not None:
            done = self._ids.get(_id_key(sender, ask.id))
            if done is not None:
                return Accepted(done.seq, done.data, duplicate=True)
        return None

    def _elsewhere(self, sender: Sender, ask: Ask, member: Member | None) -> Denied | None:
        """The refusal of who speaks over an attachment that is not, or no longer, the session's."""
        # Superseded ones are forgotten in time, but whoever enters says so: no other ask moves. (To
        # leave, one need not have entered over this connection.)
        moves = isinstance(ask, Enter) or (
            isinstance(ask, Exit) and member is not None and newer(sender.attach, member.attach)
        )
        if (member is None or moves) and not self.superseded(sender.session, sender.attach):
            return None
        return Denied(Code.NOT_JOINED.slug, "The session goes on in another connection.")

    def _repeated(self, command: Command, link: Link, here: bool) -> Answer | None:
        """The answer to a number that is decided.

        A repeated join is welcomed anew while it holds. One that was refused or has ended since
        must not begin again: its gateway knows of no member any more.
        """
        done = link.find(command.n)
        if done is not None and done.denied is not None:
            return Denied(*done.denied)
        if isinstance(command.ask, Enter):
            gone = Denied(Code.NOT_JOINED.slug, "You have left the room since.")
            return None if here else gone
        if done is None:
            return Accepted(duplicate=True)
        return Accepted(done.seq, done.data, duplicate=True)

    def renumbered(self, command: Command, answer: Answer) -> Done | None:
        """What to record when `answer` goes to a repeated id under a number that is not used yet.

        Without it the numbers after it would have to wait until the gateway has the answer.
        """
        sender = command.sender
        link = self.link(sender.session, sender.attach)
        if not isinstance(answer, Accepted) or command.n <= (link.last if link else 0):
            return None
        return Done(
            sender.session, sender.attach, command.n, sender.user, None, answer.seq, answer.data
        )

    def record(self, done: Done) -> None:
        """Remember a decision, of this room's actor or from its log."""
        if n := done.n:
            link = self._links.get(done.session)
            if link is None or link.attach != done.attach:
                link = self.attach(done.session, done.attach)
            else:
                self._links.move_to_end(done.session)
            if n > link.last:
                link.last = n
                link.decided.append(done)
            else:
                link.keep(done)
        if done.id is not None and done.denied is None:
            ids, key = self._ids, _id_key(done, done.id)
            # If it is known, it is the newest again.
            ids.pop(key, None)
            ids[key] = done
        self._spare -= 1
        if self._spare < 0:
            self._make_room()

    def _make_room(self) -> None:
        """Forget what is not asked for any more, and of the rest what is too much: the numbers
        first of those who have been silent for longest."""
        room = REMEMBERED
        for link in reversed(self._links.values()):
            link.forget()
            if not room and not link.decided:
                # As of all before it, for which there was no room already. They may be thousands.
                break
            del link.decided[: max(len(link.decided) - room, 0)]
            room -= len(link.decided)
        for old in list(islice(self._ids, max(len(self._ids) - REMEMBERED, 0))):
            del self._ids[old]
        self._spare = REMEMBERED // 2

    def __iter__(self) -> Iterator[Done]:
        """All that is remembered, in an order in which it can be recorded."""
        kept = self.kept(())
        yield from [replace(done, n=0) for done in kept.known]
        yield from [replace(done, id=None) for done in kept.numbered]

    def kept(self, sessions: Container[SessionId]) -> Kept:
        """What a snapshot needs, with where the numbers of `sessions` stand."""
        numbered: list[Done] = []
        for session, link in self._links.items():
            link.forget()
            decided, stays = link.decided, session in sessions
            if link.superseded and (stays or decided):
                numbered += _ghosts(session, link)
            if stays and link.last and not (decided and decided[-1].n == link.last):
                numbered.append(Done(session, link.attach, link.last, "", None, None))
            numbered += decided
        return Kept(tuple(self._ids.values()), tuple(numbered))


def _ghosts(session: SessionId, link: Link) -> list[Done]:
    """What tells of attachments that were superseded, and whose connection does not tell it. Before
    all else: the last attachment that is recorded is the session's."""
    ghosts = [ghost for ghost in link.superseded if not newer(link.attach, ghost)]
    return [Done(session, ghost, 1, "", None, None) for ghost in ghosts]
