"""What members of a room are written, and in which pieces."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from tests.support.rooms import turns
from tests.support.sockets import Member, check_chain, entry
from tests.support.virtual_time import virtual

from roomful_nodes.fanout import INSPECT_S, LEAST_BYTES, Fanout
from roomful_nodes.metrics import Metrics
from roomful_nodes.outbox import HIGH, LOW
from roomful_protocol.blocks import EVERYONE, Audience, Entry
from roomful_protocol.codecs import MSGPACK
from roomful_protocol.frames import gap
from roomful_rooms.pace import PACE_S


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry())


@pytest.fixture
async def fanout(metrics: Metrics) -> Fanout:
    return Fanout(asyncio.get_running_loop(), metrics)


def push(fanout: Fanout, *entries: Entry) -> None:
    fanout.push(entries)


def whisper(seq: int, *users: str) -> Entry:
    return entry(seq, Audience(users=users))


async def test_everything_of_one_turn_leaves_in_one_write_per_member(fanout: Fanout) -> None:
    members = [Member("a"), Member("b"), Member("c", codec=MSGPACK)]
    for member in members:
        fanout.add(member, 4)
    push(fanout, entry(5), entry(6))
    push(fanout, entry(7))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for member in members:
        assert len(member.transport.written) == 1
        assert member.seqs == [5, 6, 7]
        check_chain(member.frames, 4)
    assert members[0].transport.written[0] is members[1].transport.written[0]


@virtual
async def test_a_room_where_much_is_said_is_paced(metrics: Metrics) -> None:
    fanout, member = Fanout(asyncio.get_running_loop(), metrics), Member("a")
    fanout.add(member, 0)
    for seq in range(1, 11, 2):
        push(fanout, entry(seq), entry(seq + 1))
        await turns()
    assert member.seqs == [1, 2], "the first at once"
    await asyncio.sleep(PACE_S)
    assert len(member.transport.written) == 2, "the others together"
    assert member.seqs == list(range(1, 11))


@virtual
async def test_what_the_log_has_gathered_is_not_gathered_again(metrics: Metrics) -> None:
    fanout, member = Fanout(asyncio.get_running_loop(), metrics), Member("a")
    fanout.add(member, 0)
    for seq in range(1, 7, 2):
        fanout.push([entry(seq), entry(seq + 1)], paced=True)
        await turns()
    assert len(member.transport.written) == 3
    assert member.seqs == list(range(1, 7))


@virtual
async def test_one_event_at_a_time_waits_for_nothing(metrics: Metrics) -> None:
    fanout, member = Fanout(asyncio.get_running_loop(), metrics), Member("a")
    fanout.add(member, 0)
    for seq in range(1, 6):
        push(fanout, entry(seq))
        await turns()
    assert len(member.transport.written) == 5
    push(fanout, entry(6), entry(7))
    await turns()
    push(fanout, entry(8))
    await turns()
    assert member.seqs == list(range(1, 8)), "now it is busy"


async def test_what_follows_an_event_in_its_turn_is_written_in_one_piece(fanout: Fanout) -> None:
    member = Member("a")
    fanout.add(member, 0)
    push(fanout, entry(1))
    assert member.seqs == [1], "at once"
    push(fanout, entry(2))
    push(fanout, entry(3))
    assert member.seqs == [1]
    await turns()
    assert member.seqs == [1, 2, 3]
    assert len(member.transport.written) == 2
    push(fanout, entry(4))
    assert member.seqs == [1, 2, 3], "now it is busy"


async def test_a_fault_of_one_member_silences_no_room(
    fanout: Fanout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: int) -> None:
        raise OSError("the log is full")

    slow, fast = Member("a"), Member("b")
    monkeypatch.setattr(slow, "fell_behind", fails)
    slow.transport.waiting = HIGH + 1
    for member in (slow, fast):
        fanout.add(member, 0)
    with pytest.raises(OSError, match="the log is full"):
        push(fanout, entry(1))
    push(fanout, entry(2))
    await turns()
    assert fast.seqs == [1, 2]


async def test_a_private_event_is_heard_by_those_it_is_for_only(fanout: Fanout) -> None:
    ann, phone, bob = Member("a", "ann"), Member("p", "ann"), Member("b", "bob")
    for member in (ann, phone, bob):
        fanout.add(member, 0)
    push(fanout, entry(1), whisper(2, "ann"), entry(3))
    fanout.flush()
    push(fanout, entry(4), entry(5, Audience(sessions=("b",))))
    fanout.flush()
    push(fanout, entry(6))
    fanout.flush()
    assert ann.seqs == phone.seqs == [1, 2, 3, 4, 6]
    assert bob.seqs == [1, 3, 4, 5, 6]
    for member in (ann, phone, bob):
        check_chain(member.frames, 0)


async def test_without_echo_the_sender_hears_what_follows_with_its_place(fanout: Fanout) -> None:
    ann, bob = Member("a"), Member("b")
    fanout.add(ann, 0)
    fanout.add(bob, 0)
    for seq in (1, 2):
        push(fanout, entry(seq, Audience(skip="a")))
        fanout.flush()
    push(fanout, entry(3))
    fanout.flush()
    assert (ann.seqs, bob.seqs) == ([3], [1, 2, 3])
    assert ann.frames[0]["prev"] == 0
    assert all("prev" not in frame for frame in bob.frames)


async def test_members_who_deviated_share_the_bytes_again_after_the_next_event(
    fanout: Fanout,
) -> None:
    ann, bob = Member("a"), Member("b")
    fanout.add(ann, 0)
    fanout.add(bob, 0)
    push(fanout, whisper(1, "a"))
    fanout.flush()
    push(fanout, entry(2))
    fanout.flush()
    assert ann.transport.written[-1] is not bob.transport.written[-1]
    push(fanout, entry(3))
    fanout.flush()
    assert ann.transport.written[-1] is bob.transport.written[-1]


async def test_a_member_that_comes_between_gets_nothing_twice(fanout: Fanout) -> None:
    early, late = Member("a"), Member("b")
    fanout.add(early, 0)
    push(fanout, entry(1), whisper(2, "a"))
    fanout.add(late, 1)
    push(fanout, entry(3))
    fanout.flush()
    assert early.seqs == [1, 2, 3]
    assert late.seqs == [3]
    check_chain(late.frames, 1)


async def test_ephemeral_frames_have_no_place_and_reach_those_they_are_for(
    fanout: Fanout,
) -> None:
    ann, bob = Member("a"), Member("b")
    fanout.add(ann, 0)
    fanout.add(bob, 0)
    fanout.push([Entry(0, b'{"type":"chat.typing"}', Audience(skip="a"))])
    push(fanout, entry(1))
    fanout.push([Entry(0, b'{"type":"chat.wink"}', Audience(users=("a",)))])
    fanout.flush()
    assert [frame["type"] for frame in ann.frames] == ["chat.message", "chat.wink"]
    assert [frame["type"] for frame in bob.frames] == ["chat.typing", "chat.message"]


async def test_a_member_whose_socket_has_gone_does_not_stop_the_others(fanout: Fanout) -> None:
    members = [Member(name) for name in "abc"]
    for member in members:
        fanout.add(member, 0)
    members[1].transport.broken = True
    push(fanout, entry(1))
    fanout.flush()
    assert members[0].seqs == members[2].seqs == [1]
    assert len(fanout) == 2


async def test_a_member_that_is_behind_gets_no_ephemeral_frames(
    fanout: Fanout, metrics: Metrics
) -> None:
    slow, fast = Member("a"), Member("b")
    fanout.add(slow, 0)
    fanout.add(fast, 0)
    slow.transport.waiting = LOW + 1
    push(fanout, entry(1))
    fanout.flush()
    fanout.push([Entry(0, b'{"type":"chat.typing"}', EVERYONE)] * 2)
    push(fanout, entry(2))
    fanout.flush()
    assert slow.seqs == [1, 2]
    assert len(slow.frames) == 2
    assert len(fast.frames) == 4
    assert metrics.shed._value.get() == 2
    assert metrics.deliveries.count == 6


async def test_a_member_that_is_far_behind_is_let_go_with_its_place(fanout: Fanout) -> None:
    slow, fast = Member("a"), Member("b")
    fanout.add(slow, 0)
    fanout.add(fast, 0)
    slow.transport.waiting = HIGH + 1
    push(fanout, entry(1), whisper(2, "b"))
    fanout.flush()
    assert slow.behind == [0]
    push(fanout, entry(3))
    fanout.flush()
    assert slow.seqs == []
    assert fast.seqs == [1, 2, 3]


async def test_much_in_little_time_is_looked_at_before_the_time_is_up(fanout: Fanout) -> None:
    slow = Member("a")
    fanout.add(slow, 0)
    push(fanout, entry(1))
    fanout.flush()
    slow.transport.waiting = HIGH + 1
    push(fanout, entry(2))
    fanout.flush()
    assert slow.behind == []
    push(fanout, entry(3, text="x" * LOW))
    fanout.flush()
    push(fanout, entry(4))
    fanout.flush()
    assert slow.behind == [3]


async def test_a_gap_is_told_in_its_place_and_is_the_new_one(fanout: Fanout) -> None:
    ann, bob = Member("a"), Member("b")
    fanout.add(ann, 0)
    fanout.add(bob, 0)
    push(fanout, entry(1), whisper(2, "a"))
    fanout.gap(gap("lobby", 3, 9, "retention"), 9)
    push(fanout, entry(10))
    fanout.flush()
    assert [frame["type"] for frame in bob.frames] == ["chat.message", "gap", "chat.message"]
    assert ann.seqs == [1, 2, 10]
    assert "prev" not in ann.frames[-1]
    assert "prev" not in bob.frames[-1]


async def test_a_session_that_comes_again_replaces_itself(fanout: Fanout) -> None:
    other, old, new = Member("b"), Member("a"), Member("a")
    fanout.add(other, 4)
    fanout.add(old, 3)
    fanout.add(new, 4)
    assert fanout.remove(old) is None
    push(fanout, entry(5))
    fanout.flush()
    assert (old.seqs, new.seqs) == ([], [5])


@virtual
async def test_nobody_is_looked_at_for_a_few_bytes() -> None:
    fanout, slow = Fanout(asyncio.get_running_loop(), Metrics(CollectorRegistry())), Member("a")
    fanout.add(slow, 0)
    push(fanout, entry(1))
    fanout.flush()
    slow.transport.waiting = HIGH + 1
    while not slow.behind:
        await asyncio.sleep(INSPECT_S)
        assert sum(map(len, slow.transport.written)) < 2 * LEAST_BYTES
        push(fanout, entry(slow.seqs[-1] + 1))
        fanout.flush()
    assert sum(map(len, slow.transport.written)) >= LEAST_BYTES


@virtual
@pytest.mark.parametrize("seq", [0, 1], ids=["ephemeral", "kept"])
async def test_who_hears_nothing_but_what_is_private_is_looked_at_all_the_same(seq: int) -> None:
    fanout, slow = Fanout(asyncio.get_running_loop(), Metrics(CollectorRegistry())), Member("a")
    fanout.add(slow, 0)
    slow.transport.stuck = True
    for number in range(2 * HIGH // LOW):
        frame = entry(seq and number + 1, text="x" * LOW).frame
        push(fanout, Entry(seq and number + 1, frame, Audience(users=("a",))))
        fanout.flush()
        await asyncio.sleep(INSPECT_S)
    if seq:
        assert slow.behind
    else:
        assert slow.transport.waiting < 3 * LOW, "what is ephemeral is left out"
