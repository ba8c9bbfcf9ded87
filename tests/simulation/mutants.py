"""What breaks the product on purpose: each takes one promise's ground away."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import pytest
from tests.simulation import faults

from roomful_nodes.chain import Chain
from roomful_nodes.feed import Feed
from roomful_nodes.hub import Hub
from roomful_nodes.registration import Registration
from roomful_nodes.sessions import Sessions
from roomful_nodes.shouts import Shouts
from roomful_protocol.blocks import Entry, Heard, Member
from roomful_protocol.codecs.stored import unpack_block
from roomful_protocol.ids import home_of
from roomful_protocol.messages import Accepted, Answer, Command, Sender
from roomful_rooms import actor as actor_module
from roomful_rooms import journal as journal_module
from roomful_rooms import sweep as sweep_module
from roomful_rooms.host import RoomHost
from roomful_rooms.journal import Journal
from roomful_rooms.ledger import Ledger
from roomful_rooms.log import Archive, Log
from roomful_rooms.memory_log import LogStore
from roomful_rooms.presence import Life, Presence
from roomful_rooms.recovery import Recovered, recover

Mutant = Callable[[pytest.MonkeyPatch], None]


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """The log takes what comes, whoever has written since."""
    original = LogStore.append

    def append(self: LogStore, room: str, data: bytes, _after: int) -> int:
        newest = self.last(room)
        return original(self, room, data, newest.position if newest else 0)

    patch.setattr(LogStore, "append", append)


def no_dedupe(patch: pytest.MonkeyPatch) -> None:
    """What was done before is done again."""
    original = Ledger.verdict

    def verdict(self: Ledger, command: Command, member: Member | None) -> Answer | None:
        answer = original(self, command, member)
        return None if isinstance(answer, Accepted) and answer.duplicate else answer

    patch.setattr(Ledger, "verdict", verdict)


def no_gaps(patch: pytest.MonkeyPatch) -> None:
    """A hub takes each block that is announced for the next one."""

    def hear(self: Chain, heard: Heard) -> Sequence[Entry]:
        due = [entry for entry in heard.entries if entry.seq > self.head]
        self.head = max(self.head, heard.last)
        self.expect(self.head)
        return due

    patch.setattr(Chain, "hear", hear)


def stale_hand_off(patch: pytest.MonkeyPatch) -> None:
    """A new owner takes what a read gives for the whole of the room."""

    async def hasty(room: str, log: Log, archive: Archive) -> Recovered:
        held = await recover(room, log, archive)
        records = await log.read(room, 0, 10_000)
        if len(records) > 1:
            newest, held = records[-1], Recovered()
            for record in records[:-1]:
                held.apply(unpack_block(record.data), record.position)
            held.position = newest.position
        return held

    patch.setattr(journal_module, "recover", hasty)


def no_lease(patch: pytest.MonkeyPatch) -> None:
    """A node serves what it has once had, and nothing fences it."""
    no_fence(patch)
    patch.setattr(RoomHost, "_drop", lambda _self, _partition: None)
    patch.setattr(Registration, "held", property(lambda _self: True))
    patch.setattr(RoomHost, "_certain", property(lambda _self: True))


def early_acks(patch: pytest.MonkeyPatch) -> None:
    """Answers go out before the log has the block."""

    def write_later(self: Any, draft: Any) -> None:
        self._release(draft)
        write(self, draft)

    write = Journal._write
    patch.setattr(Journal, "_write", write_later)


def rash_sweep(patch: pytest.MonkeyPatch) -> None:
    """Whoever began on a lost node leaves with it, though it came back elsewhere."""
    original = RoomHost._look_after

    def home(member: Member | Sender) -> Life:
        return home_of(member.session), ""

    async def look_after(self: RoomHost, living: Collection[Life], _: object) -> None:
        await original(self, frozenset({(node, "") for node, _ in living}), {})

    patch.setattr(RoomHost, "_look_after", look_after)
    patch.setattr(Presence, "nodes", property(lambda self: frozenset(map(home, self))))
    patch.setattr(sweep_module, "life", home)


def no_grace(patch: pytest.MonkeyPatch) -> None:
    """A lost connection is a leave."""
    original = Sessions.drop

    def drop(self: Any, session: Any, line: Any, *, for_good: bool) -> None:
        original(self, session, line, for_good=True)

    patch.setattr(Sessions, "drop", drop)


def no_rollback(patch: pytest.MonkeyPatch) -> None:
    """What a handler that failed has changed stays."""

    def take_back(journal: Journal, turn: Any) -> None:
        journal.held.presence.restore(turn.before)
        journal.held.state.take(*journal.held.state.changes())

    patch.setattr(actor_module, "take_back", take_back)


def no_repair(patch: pytest.MonkeyPatch) -> None:
    """A hub waits for what is missing, and does not read it."""
    patch.setattr(Feed, "_start_repair", lambda _self: None)


def no_beacons(patch: pytest.MonkeyPatch) -> None:
    """No room says how far it is. That breaks nothing, where nothing is lost: nor is it here."""
    patch.setattr(Shouts, "tell_head", lambda *_: None)
    losing = ("black hole", "losses")
    kept = {kind: weight for kind, weight in faults.WEIGHTS.items() if kind not in losing}
    patch.setattr(faults, "WEIGHTS", kept)


def no_heed(patch: pytest.MonkeyPatch) -> None:
    """A node hears only itself in a room that it has left; beacons would find that out."""
    no_beacons(patch)
    patch.setattr(Hub, "heed", lambda *_: None)
