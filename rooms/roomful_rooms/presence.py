"""Who is in a room, by session: a fold of the joins and leaves in its log."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final

from roomful_protocol.blocks import Entered, Exited, Member
from roomful_protocol.frames import Target
from roomful_protocol.ids import NodeId, SessionId, UserId, life_of
from roomful_protocol.messages import Sender

LISTED = 200
"""Up to so many members are listed by name; above, lists are samples and counts are exact."""


Life = tuple[NodeId, str]
"""A node from its start to its end: one that is started again under its name is another."""


def life(one: Member | Sender) -> Life:
    """At which node, in which life of it, somebody is."""
    return one.node, life_of(one.attach)


class Presence:
    """The members of a room, in the order in which they came. Authors read it; only blocks change
    it."""

    def __init__(self, members: Iterable[Member] = ()) -> None:
        self._members: dict[SessionId, Member] = {}
        self.get: Final = self._members.get
        self._users: dict[UserId, dict[SessionId, None]] = {}
        self._nodes: Counter[Life] = Counter()
        self._seen: set[NodeId] = set()
        for member in members:
            self.enter(member)

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __contains__(self, session: object) -> bool:
        return session in self._members

    def of(self, user: UserId) -> tuple[Member, ...]:
        """The members that are connections of `user`."""
        return tuple(self._members[session] for session in self._users.get(user, ()))

    @property
    def nodes(self) -> frozenset[Life]:
        """The nodes that hold the members' sockets, each in the life in which it does."""
        return frozenset(self._nodes)

    def elsewhere(self, node: NodeId) -> bool:
        """Whether there are, or have been, members whose sockets are not at `node`: who was put out
        has yet to hear of it."""
        return not self._seen <= {node}

    def listed(self) -> tuple[Member, ...]:
        """The members, or the first `LISTED` of them."""
        return tuple(islice(self._members.values(), LISTED))

    def reached(self, targets: Iterable[Target]) -> dict[SessionId, Member]:
        """The members that a targeted message reaches, by session."""
        found: dict[SessionId, Member] = {}
        for target in targets:
            if target.kind == "user":
                found.update((member.session, member) for member in self.of(target.value))
            elif (member := self.get(target.value)) is not None:
                found[member.session] = member
        return found

    def enter(self, member: Member) -> None:
        """Add a member, or move it to another node or attachment, in its place."""
        if (before := self._members.get(member.session)) is not None:
            self._forget(before)
        self._members[member.session] = member
        self._users.setdefault(member.user, {})[member.session] = None
        self._nodes[life(member)] += 1
        self._seen.add(member.node)

    def exit(self, session: SessionId) -> Member | None:
        member = self._members.pop(session, None)
        if member is not None:
            self._forget(member)
        return member

    def _forget(self, member: Member) -> None:
        sessions = self._users[member.user]
        del sessions[member.session]
        if not sessions:
            del self._users[member.user]
        at = life(member)
        self._nodes[at] -= 1
        if not self._nodes[at]:
            del self._nodes[at]

    def apply(self, changes: Iterable[Entered | Exited]) -> None:
        """Fold the membership changes of a block."""
        for change in changes:
            match change:
                case Entered(member=member):
                    self.enter(member)
                case Exited(session=session):
                    self.exit(session)

    # -- handlers that are not done yet ------------------------------------------------------------

    def as_before(self, before: Mapping[SessionId, Member | None]) -> tuple[Member, ...]:
        """The members, had nothing happened to these sessions since they were as in `before`."""
        members = {**self._members, **before}
        return tuple(member for member in members.values() if member is not None)

    def restore(self, before: Mapping[SessionId, Member | None]) -> None:
        """Make it so."""
        for session, member in before.items():
            if member is None:
                self.exit(session)
            else:
                self.enter(member)
