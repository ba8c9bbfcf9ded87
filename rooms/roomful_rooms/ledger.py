"""What has been decided already: the memory that makes retries take effect at most once.

Two keys lead to a decision. (attach, n) is the gateway's: it may pipeline and retry. The client's
own `id` is the other: within the session, and, where it is a string of `GLOBAL_ID` characters or
more (a UUID, say), for all sessions of the user, so that it survives the loss of a session.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from roomful_protocol.blocks import Done, Member
from roomful_protocol.errors import Code
from roomful_protocol.frames import ClientId
from roomful_protocol.ids import SessionId, UserId, connection_of
from roomful_protocol.messages import MOVED, Accepted, Answer, Command, Denied, Enter, Exit, Say

GLOBAL_ID: Final = 16
"""Characters from which on a string id is taken to be unique among all sessions of its user."""
REMEMBERED: Final = 4096
"""Decisions kept per room; older ones are forgotten first."""
LINKS: Final = 65_536
"""Sessions whose numbers are kept per room; those that sent nothing for longest are forgotten."""

_Key = tuple[str, str, ClientId]


class Link(Struct):
    """One session's numbered commands: its attachment, the last number decided, those before it."""

    attach: str
    last: int = 0
    superseded: tuple[str, ...] = ()


def newer(attach: str, than: str) -> bool:
    """Whether a session's attachment was made over a later connection than another one."""
    return connection_of(attach) > connection_of(than)


def _id_key(session: SessionId, user: UserId, id: ClientId) -> _Key:
    if isinstance(id, str) and len(id) >= GLOBAL_ID:
        return ("user", user, id)
    return ("session", session, id)


class Ledger:
    """Decisions and numbers of a room, bounded; rebuilt from `Done` records."""

    def __init__(self, done: Iterable[Done] = ()) -> None:
        self._decisions: OrderedDict[_Key, Done] = OrderedDict()
        self._links: OrderedDict[SessionId, Link] = OrderedDict()
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
        link = self._links.pop(session, None)
        if link is None:
            link = Link(attach)
        elif link.attach != attach:
            # A short memory will do: a gateway that let go of a session soon stops asking for it.
            ghosts = [ghost for ghost in (*link.superseded, link.attach) if ghost != attach]
            link = Link(attach, superseded=tuple(ghosts[-8:]))
        self._links[session] = link
        if len(self._links) > LINKS:
            self._links.popitem(last=False)
        return link

    def verdict(self, command: Command, member: Member | None) -> Answer | None:
        """The answer to a command that must not be carried out (again); None: carry it out.

        `member`: the sender's session as it is in the room now, if it is.
        """
        sender, ask = command.sender, command.ask
        here = member is not None and member.attach == sender.attach
        # Superseded ones are forgotten in time, but whoever enters says so: no other ask moves. (To
        # leave, one need not have entered over this connection.)
        moves = isinstance(ask, Enter) or (
            isinstance(ask, Exit) and member is not None and newer(sender.attach, member.attach)
        )
        elsewhere = member is not None and not here and not moves
        if elsewhere or self.superseded(sender.session, sender.attach):
            return Denied(Code.NOT_JOINED.slug, "The session goes on in another connection.")
        if command.n:
            link = self.link(sender.session, sender.attach)
            last = link.last if link is not None else 0
            if command.n <= last:
                repeated = self._repeated(sender.attach, command.n)
                return self._entered(repeated, here) if isinstance(ask, Enter) else repeated
            if command.n != max(last, command.base - 1) + 1:
                return MOVED
        if isinstance(ask, Say) and ask.id is not None:
            done = self._decisions.get(_id_key(sender.session, sender.user, ask.id))
            if done is not None:
                return Accepted(done.seq, done.data, duplicate=True)
        return None

    def _entered(self, repeated: Answer, here: bool) -> Answer | None:
        """A repeated join is welcomed anew while it holds. One that was refused or has ended since
        must not begin again: its gateway knows of no member any more."""
        if isinstance(repeated, Denied):
            return repeated
        return None if here else Denied(Code.NOT_JOINED.slug, "You have left the room since.")

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

    def _repeated(self, attach: str, n: int) -> Answer:
        done = self._decisions.get(("n", attach, n))
        if done is None:
            return Accepted(duplicate=True)
        if done.denied is not None:
            return Denied(*done.denied)
        return Accepted(done.seq, done.data, duplicate=True)

    def record(self, done: Done) -> None:
        """Remember a decision, of this room's actor or from its log."""
        if done.n:
            self._keep(("n", done.attach, done.n), done)
            link = self.attach(done.session, done.attach)
            link.last = max(link.last, done.n)
        if done.id is not None and done.denied is None:
            self._keep(_id_key(done.session, done.user, done.id), done)

    def _keep(self, key: _Key, done: Done) -> None:
        self._decisions[key] = done
        self._decisions.move_to_end(key)
        if len(self._decisions) > 2 * REMEMBERED:
            self._decisions.popitem(last=False)

    def __iter__(self) -> Iterator[Done]:
        """Every remembered decision once, oldest first."""
        return iter({id(done): done for done in self._decisions.values()}.values())

    def kept(self, sessions: Iterable[SessionId]) -> Iterator[Done]:
        """What a snapshot needs, to be recorded in this order: where the numbers of `sessions`
        stand, if the decisions no longer tell, and every decision."""
        for session in sessions:
            link = self._links.get(session)
            if (
                link is not None
                and link.last
                and ("n", link.attach, link.last) not in self._decisions
            ):
                yield Done(session, link.attach, link.last, "", None, None)
        yield from self
