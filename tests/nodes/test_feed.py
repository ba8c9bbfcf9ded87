"""One room as a node hears it: whole, once, in order, whatever is lost on the way."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.support.rooms import Client, World, turns, until, world
from tests.support.sockets import check_chain

from roomful_nodes import backoff as backoff_module
from roomful_nodes import feed as feed_module
from roomful_nodes.membership import Membership
from roomful_protocol.blocks import EVERYONE, Audience, Entry
from roomful_protocol.codecs import JSON, MSGPACK
from roomful_protocol.codecs.internode import pack_live
from roomful_protocol.frames import NEW, Since
from roomful_protocol.messages import Denied, Enter, Live, Read

UNAVAILABLE = Denied("unavailable", "Nobody answers.")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "PATIENCE_S", 0.002)
    monkeypatch.setattr(backoff_module, "BACKOFF_S", (0.001, 0.004))


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world() as made:
        yield made


def beacon(here: World, head: int) -> None:
    here.outside.publish(here.subjects.live("lobby"), pack_live(Live(head=head)))


def lose_end(here: World, keep: int) -> None:
    """The broker forgets all but the first `keep` events, and the owner recovers from that."""
    kept = here.room.recent.all_after(0) or ()
    here.room.recent = type(here.room.recent)("e1", 0, ())
    here.room.recent.add(kept[:keep])


def gaps(client: Client) -> list[object]:
    return [frame["data"] for frame in client.frames if frame["type"] == "gap"]


# -- hearing ---------------------------------------------------------------------------------------


async def test_members_hear_what_is_committed_from_their_join_on(here: World) -> None:
    here.room.say("before")
    ann = await here.joined("ann")
    here.room.say("one", "two")
    await until(lambda: len(ann.seqs) == 2)
    assert ann.types() == ["joined", "chat.message", "chat.message"]
    assert ann.seqs == [2, 3]


def write_here(here: World, *audiences: Audience, times: int = 1) -> None:
    """A block that this node writes itself, announced so often all the same."""
    block = here.room.commit(*audiences, times=times)
    here.hub.hear_own("lobby", block)


@pytest.mark.parametrize("times", [0, 1, 2])
async def test_a_block_of_the_nodes_own_is_heard_once_however_often_announced(
    here: World, times: int
) -> None:
    ann = await here.joined("ann")
    write_here(here, EVERYONE, times=times)
    write_here(here, EVERYONE, EVERYONE, times=times)
    feed = here.hub.feed("lobby")
    assert feed.head == 3, "and nobody waited for the log to announce it"
    await until(lambda: len(ann.seqs) == 3)
    here.hub.heed("lobby")
    here.room.say("another's")
    write_here(here, EVERYONE)
    await until(lambda: len(ann.seqs) == 5)
    check_chain(ann.frames, 0)
    assert ann.seqs == [1, 2, 3, 4, 5]
    here.hub.release(feed)


async def test_a_block_of_the_nodes_own_behind_a_hole_is_read_if_nothing_is_announced(
    here: World,
) -> None:
    ann = await here.joined("ann")
    write_here(here, EVERYONE)
    await until(lambda: not here.room.store.followers["lobby"])
    here.room.commit(EVERYONE)
    write_here(here, EVERYONE)
    await until(lambda: ann.seqs == [1, 2, 3])


async def test_a_block_of_the_nodes_own_behind_a_hole_waits_to_be_announced(here: World) -> None:
    """Whoever owned the room before has written a block that is still on its way here."""
    ann = await here.joined("ann")
    asked = len(here.room.asked)
    here.room.commit(EVERYONE)
    write_here(here, EVERYONE)
    feed = here.hub.feed("lobby")
    assert feed.head == 0
    await until(lambda: ann.seqs == [1, 2])
    assert len(here.room.asked) == asked
    here.hub.release(feed)


async def test_a_block_of_the_nodes_own_in_a_new_epoch_waits_to_be_announced(here: World) -> None:
    ann = await here.joined("ann")
    here.room.say("one")
    await until(lambda: ann.seqs == [1])
    here.room.recent = type(here.room.recent)("e2", 0, ())
    write_here(here, EVERYONE)
    await until(lambda: gaps(ann))
    await until(lambda: ann.seqs == [1, 1])


async def test_a_listener_that_fails_harms_no_room(here: World) -> None:
    await here.joined("ann")
    feed = here.hub.feed("lobby")
    feed._fanout.push = None  # type: ignore[method-assign,assignment]
    with capture_logs() as logged:
        write_here(here, EVERYONE, times=0)
    assert [(event["event"], event["room"]) for event in logged] == [
        ("hub.listener_failed", "lobby")
    ]
    here.hub.release(feed)


async def test_a_lost_block_is_read_from_the_owner(here: World) -> None:
    ann = await here.joined("ann")
    here.room.commit(EVERYONE, EVERYONE, times=0)
    here.room.say("after")
    await until(lambda: len(ann.seqs) == 3)
    check_chain(ann.frames, 0)
    assert here.metrics.gaps_repaired._value.get() == 1


async def test_a_hole_right_after_the_end_of_a_page_is_read(here: World) -> None:
    ann = await here.joined("ann")
    here.room.say("one", "two")
    await until(lambda: len(ann.seqs) == 2)
    await here.room.page()
    here.room.commit(EVERYONE, EVERYONE, times=0)
    here.room.say("after")
    await until(lambda: len(ann.seqs) == 5)
    check_chain(ann.frames, 0)


async def test_a_lost_last_block_is_noticed_by_a_beacon(here: World) -> None:
    ann = await here.joined("ann")
    here.room.commit(EVERYONE, times=0)
    await turns()
    assert ann.seqs == []
    beacon(here, 1)
    await until(lambda: ann.seqs == [1])


async def test_a_beacon_of_what_is_known_asks_nobody(here: World) -> None:
    ann = await here.joined("ann")
    here.room.say("hi")
    await until(lambda: ann.seqs == [1])
    asked = len(here.room.asked)
    beacon(here, 1)
    await asyncio.sleep(0.01)
    assert len(here.room.asked) == asked


async def test_a_block_announced_twice_is_heard_once(here: World) -> None:
    ann = await here.joined("ann")
    here.room.commit(EVERYONE, times=2)
    here.room.say("next")
    await until(lambda: len(ann.seqs) == 2)
    assert ann.seqs == [1, 2]


async def test_a_check_during_a_repair_is_not_forgotten(here: World) -> None:
    ann = await here.joined("ann")
    here.room.commit(EVERYONE, times=0)
    # So the answer names a page, and while that is loaded things happen.
    await here.room.page()
    here.room.asked.clear()
    here.hub.check()
    for _ in range(20):
        if here.room.asked:
            break
        await turns(1)
    here.room.commit(EVERYONE, times=0)
    here.hub.check()
    await until(lambda: ann.seqs == [1, 2])


async def test_repair_goes_on_until_the_owner_answers(here: World) -> None:
    ann = await here.joined("ann")
    here.room.asked.clear()
    here.room.denials = [UNAVAILABLE] * 3
    here.room.commit(EVERYONE, times=0)
    here.room.say("after")
    await until(lambda: ann.seqs == [1, 2])
    assert [type(ask) for _, ask in here.room.asked] == [Read] * 4


async def test_what_is_not_kept_any_more_is_a_gap(here: World) -> None:
    ann = await here.joined("ann")
    for _ in range(5):
        here.room.commit(EVERYONE, times=0)
    here.room.forget(keep=2)
    here.room.say("after")
    await until(lambda: 6 in ann.seqs)
    gap = next(frame for frame in ann.frames if frame["type"] == "gap")
    assert gap["data"] == {"from": 1, "to": 3, "reason": "retention"}
    assert ann.seqs == [4, 5, 6]
    assert all("prev" not in frame for frame in ann.frames)


async def test_another_incarnation_of_the_log_is_a_gap(here: World) -> None:
    ann = await here.joined("ann")
    here.room.say("one", "two")
    await until(lambda: ann.seqs == [1, 2])
    recent = type(here.room.recent)("e2", 0, ())
    here.room.recent = recent
    here.room.say("anew")
    await until(lambda: ann.seqs == [1, 2, 1])
    gap = next(frame for frame in ann.frames if frame["type"] == "gap")
    assert gap["data"] == {"from": 3, "to": 0, "reason": "epoch", "epoch": "e2"}


async def test_numbers_that_are_given_out_again_are_a_gap(here: World) -> None:
    ann = await here.joined("ann")
    here.room.say("one", "two", "three")
    await until(lambda: ann.seqs == [1, 2, 3])
    lose_end(here, keep=1)
    here.room.say("two again")
    await until(lambda: ann.seqs == [1, 2, 3, 2])
    assert gaps(ann) == [{"from": 4, "to": 1, "reason": "lost", "epoch": "e1"}]


async def test_numbers_that_were_given_out_again_unheard_are_a_gap(here: World) -> None:
    ann = await here.joined("ann")
    here.room.say("one", "two", "three")
    await until(lambda: ann.seqs == [1, 2, 3])
    lose_end(here, keep=1)
    for _ in range(3):
        here.room.commit(EVERYONE, text="again", times=0)
    here.hub.check()
    await until(lambda: len(gaps(ann)) == 1)
    assert gaps(ann) == [{"from": 4, "to": 4, "reason": "lost", "epoch": "e1"}]
    here.room.say("live")
    await until(lambda: ann.seqs == [1, 2, 3, 5])


async def test_a_block_announced_late_contradicts_nothing(here: World) -> None:
    ann = await here.joined("ann")
    here.room.say("one")
    here.room.commit(EVERYONE, EVERYONE, times=2)
    here.room.say("four")
    await until(lambda: ann.seqs == [1, 2, 3, 4])
    assert gaps(ann) == []


async def test_ephemeral_frames_come_from_here_and_from_other_nodes(here: World) -> None:
    ann = await here.joined("ann")
    typing = Live((Entry(0, b'{"type":"chat.typing","room":"lobby"}'),))
    here.hub.hear_live("lobby", typing)
    here.outside.publish(here.subjects.live("lobby"), pack_live(typing))
    here.hub.hear_live("elsewhere", typing)
    await until(lambda: ann.types() == ["joined", "chat.typing", "chat.typing"])


# -- joining ---------------------------------------------------------------------------------------


async def test_a_join_that_knows_more_than_the_feed_waits_for_it(here: World) -> None:
    ann = await here.joined("ann")
    here.room.commit(EVERYONE, EVERYONE)
    bob = here.client("bob")
    bob.join()
    assert bob.joined["seq"] == 2
    here.room.say("three")
    await until(lambda: bob.seqs == [3] and len(ann.seqs) == 3)


async def test_a_join_that_knows_less_than_the_feed_gets_what_is_between(here: World) -> None:
    ann = await here.joined("ann")
    here.room.delay_turns = 20
    bob = here.client("bob")
    bob.join()
    here.room.say("one", "two")
    await until(lambda: len(bob.seqs) == 2)
    assert bob.types() == ["joined", "chat.message", "chat.message"]
    assert bob.joined["seq"] == 0
    await until(lambda: ann.seqs == bob.seqs)


async def test_who_comes_back_gets_what_was_missed_and_then_what_happens(here: World) -> None:
    here.room.commit(EVERYONE, Audience(users=("bob",)), EVERYONE)
    ann, bob = here.client("ann"), here.client("bob", MSGPACK)
    ann.join(Since(after=0))
    bob.join(Since(after=1))
    here.room.say("live")
    await until(lambda: len(ann.seqs) == 3 and len(bob.seqs) == 3)
    assert ann.seqs == [1, 3, 4]
    assert bob.seqs == [2, 3, 4]
    assert ann.joined["recovered"] is True
    check_chain(ann.frames, 0)
    check_chain(bob.frames, 1)


async def test_a_long_past_is_read_from_pages(here: World) -> None:
    for _ in range(3):
        for _ in range(200):
            here.room.say("x" * 600)
        await here.room.page()
    ann = here.client("ann")
    ann.join(Since(after=10))
    here.room.say("live")
    await until(lambda: len(ann.seqs) == 591)
    assert ann.types()[0] == "joined"
    check_chain(ann.frames, 10)


async def test_a_join_before_the_feed_is_established_loses_nothing(here: World) -> None:
    ann = here.client("ann")
    ann.join()
    # The answer is here at once; this is announced before anybody listens.
    here.room.say("between")
    await until(lambda: ann.seqs == [1])
    assert (ann.types(), ann.joined["seq"]) == (["joined", "chat.message"], 0)


async def test_joining_again_starts_over_from_where_the_client_says(here: World) -> None:
    ann = await here.joined("ann")
    here.room.say("one", "two")
    await until(lambda: ann.seqs == [1, 2])
    ann.join(Since(after=1))
    here.room.say("three")
    await until(lambda: len(ann.seqs) == 4)
    assert (
        ann.types() == ["joined", "chat.message", "chat.message", "joined"] + ["chat.message"] * 2
    )
    assert ann.seqs == [1, 2, 2, 3]


async def test_a_refused_join_is_told_and_forgotten(here: World) -> None:
    here.room.denials = [Denied("room_full", "Full.", 50)]
    ann = here.client("ann")
    ann.join()
    [error] = ann.frames
    assert error["error"] == {
        "code": "room_full", "message": "Full.", "retry": True, "retry_after_ms": 50,
    }  # fmt: skip
    assert ann.refused


async def test_a_refused_second_join_leaves_the_first_one_as_it_is(here: World) -> None:
    ann = await here.joined("ann")
    here.room.denials = [UNAVAILABLE]
    ann.join()
    assert not ann.refused
    here.room.say("still here")
    await until(lambda: ann.seqs == [1])


async def test_who_has_left_hears_nothing_more(here: World) -> None:
    ann, bob = await here.joined("ann"), await here.joined("bob")
    ann.membership.leave(7)
    here.room.say("gone")
    await until(lambda: bob.seqs == [1])
    assert ann.frames[-1] == {"type": "left", "id": 7, "room": "lobby"}
    assert ann.seqs == []


# -- everything at once ----------------------------------------------------------------------------

AUDIENCES = st.one_of(
    st.just(EVERYONE),
    st.sampled_from(["ann", "bob", "cat"]).map(lambda name: Audience(users=(name,))),
    st.sampled_from(["ann-s", "bob-s"]).map(lambda name: Audience(sessions=(name,))),
    st.sampled_from(["ann-s", "bob-s", "cat-s"]).map(lambda name: Audience(skip=name)),
)
SINCES = st.one_of(
    st.just(NEW),
    st.integers(0, 12).map(lambda seq: Since(after=seq)),
    st.integers(0, 5).map(lambda count: Since(last=count)),
)
STEPS = st.one_of(
    st.tuples(st.just("commit"), st.lists(AUDIENCES, max_size=3), st.integers(0, 2)),
    st.tuples(st.just("join"), st.sampled_from(["ann", "bob", "cat"]), SINCES, st.integers(0, 6)),
    st.tuples(st.just("leave"), st.sampled_from(["ann", "bob", "cat"])),
    st.tuples(st.just("turns"), st.integers(1, 5)),
    st.tuples(st.just("page")),
    st.tuples(st.just("rest")),
)


class Audit:
    """Clients that come and go; each is checked against what the room has committed."""

    def __init__(self, here: World) -> None:
        self.here = here
        self.present: dict[str, Client] = {}
        self.gone: list[Client] = []
        self.committed: dict[int, Audience] = {}

    async def step(self, step: tuple[object, ...]) -> None:
        match step:
            case ("commit", list(audiences), int(times)):
                first = self.here.room.head + 1
                self.committed |= dict(enumerate(audiences, first))
                self.here.room.commit(*audiences, times=times)
            case ("join", str(name), Since() as since, int(delay)):
                self.leave(name)
                self.here.room.delay_turns = delay
                client = self.present[name] = self.here.client(name, MSGPACK if delay % 2 else JSON)
                # A client cannot have heard of what has not been said yet.
                known = min(since.after or 0, self.here.room.head)
                client.join(since if since.after is None else Since(after=known))
            case ("leave", str(name)):
                self.leave(name)
            case ("turns", int(count)):
                await turns(count)
            case ("page",):
                await self.here.room.page()
            case _:
                await asyncio.sleep(0.002)

    def leave(self, name: str) -> None:
        client = self.present.pop(name, None)
        if client is not None:
            client.membership.detach()
            self.gone.append(client)

    def start(self, client: Client) -> int:
        """The seq after which the client is told everything that is for it."""
        who = client.membership.sender
        asked = next(ask for sender, ask in self.here.room.asked if sender is who)
        assert isinstance(asked, Enter)
        if asked.since.after is not None:
            return asked.since.after
        head = int(client.joined["seq"])
        return max(head - (asked.since.last or 0), 0)

    def due(self, membership: Membership, start: int) -> list[int]:
        who = membership.sender
        return [
            seq
            for seq, audience in self.committed.items()
            if seq > start and audience.hears(who.user, who.session)
        ]

    async def check(self) -> None:
        for client in self.present.values():
            await until(lambda: "joined" in client.types())  # noqa: B023 - awaited at once
        # As a beacon does: the last block may be among the lost ones.
        self.here.hub.check()
        for client in self.present.values():
            due = self.due(client.membership, self.start(client))
            await until(lambda: client.seqs[-1:] == due[-1:])  # noqa: B023
            assert client.seqs == due
            check_chain(client.frames, self.start(client))
        for client in self.gone:
            if "joined" in client.types():
                due = self.due(client.membership, self.start(client))
                assert client.seqs == due[: len(client.seqs)]
                check_chain(client.frames, self.start(client))


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_every_member_hears_exactly_what_is_for_it_in_order(
    steps: list[tuple[object, ...]],
) -> None:
    async def run() -> None:
        async with world() as here:
            audit = Audit(here)
            for step in steps:
                await audit.step(step)
            await audit.check()

    asyncio.run(run())
