"""Each rule of `roomful check`: what it lets pass, and what it notices."""

from dataclasses import replace

import pytest
from tests.support.check_story import (
    BOUNDS,
    EPOCH,
    ROOM,
    Story,
    blocks,
    came,
    joined,
    said,
    went,
)

from roomful.check.content import FAREWELL, Content
from roomful.check.evidence import Evidence
from roomful.check.history import (
    Acked,
    Broke,
    Gap,
    GapTold,
    Heard,
    Joined,
    Joining,
    Leaving,
    Left,
    Listed,
    Lost,
    Opened,
    Read,
    Refused,
    Sent,
    Trouble,
)
from roomful.check.roomlog import RoomLog, Written
from roomful.check.verdict import judge
from roomful_protocol.blocks import Audience, Block, Entered, Entry, Exited, Member


@pytest.fixture
def story() -> Story:
    return Story()


def test_all_is_well(story: Story) -> None:
    verdict = story.verdict()
    assert verdict.violations == ()
    assert verdict.good
    assert verdict.counts["clients"] == 2
    assert (verdict.counts["sent"], verdict.counts["acked"], verdict.counts["heard"]) == (1, 1, 3)
    assert verdict.worst is not None
    assert (verdict.worst.client, verdict.worst.seconds) == ("ann", 1)


# -- the log itself --------------------------------------------------------------------------------


def test_a_hole_in_the_log(story: Story) -> None:
    story.says("k2")
    whole = story.logged
    holed = replace(whole, entries=whole.entries[:2] + whole.entries[3:])
    found = judge([], [holed], BOUNDS).violations
    assert [one.sentence for one in found if one.rule == "dense"] == [
        "lobby: entry 4 comes after entry 2."
    ]


def test_blocks_follow_each_other(story: Story) -> None:
    story.blocks = blocks((1, "n1.x", 1, 1, 1), (1, "n1.x", 2, 2, 3))
    assert "dense" not in story.broken()
    story.blocks = blocks((1, "n1.x", 1, 1, 1), (1, "n1.x", 2, 3, 3))
    assert "dense" in story.broken()


def test_a_log_that_began_anew(story: Story) -> None:
    one, two = blocks((1, "n1.x", 1, 1, 1), (1, "n1.x", 2, 2, 3))
    story.blocks = (one, replace(two, epoch="other"))
    assert "epoch" in story.broken()


@pytest.mark.parametrize(
    ("of", "noticed"),
    [
        ([(1, "n1.x", 1, 1, 1), (2, "n2.y", 1, 2, 3)], False),
        ([(2, "n1.x", 1, 1, 1), (1, "n2.y", 1, 2, 3)], True),
        ([(1, "n1.x", 1, 1, 1), (1, "n1.x", 3, 2, 3)], True),
        ([(1, "n1.x", 1, 1, 1), (2, "n2.y", 1, 2, 2), (2, "n1.x", 2, 3, 3)], True),
    ],
)
def test_who_was_replaced_writes_no_more(
    story: Story, of: list[tuple[int, str, int, int, int]], noticed: bool
) -> None:
    story.blocks = blocks(*of)
    assert ("fenced" in story.broken()) is noticed


@pytest.mark.parametrize(("writer", "noticed"), [("n1.y", False), ("n2.y", True), ("y", False)])
def test_a_term_has_one_owner(story: Story, writer: str, noticed: bool) -> None:
    story.blocks = blocks((1, "n1.x", 1, 1, 1), (1, writer, 1, 2, 3))
    assert ("owned" in story.broken()) is noticed


def test_state_counts_what_the_log_tells(story: Story) -> None:
    for tally in (1, 2):
        story.says(f"t{tally}", tally=tally)
    assert story.broken() == []
    story.says("t4", tally=4)
    assert story.broken() == ["transactions"]


def farewell(session: str) -> Content:
    return Content(FAREWELL, 1, None, None, 0, about=session)


def test_on_leave_runs_once_for_each_leave(story: Story) -> None:
    story.ann += [Leaving(ROOM, 5), Left(ROOM, True, 6)]
    story.log += [went("a1", count=1), farewell("a1")]
    story.bob += [story.hears(4), story.hears(5)]
    assert story.broken() == []
    story.log.append(farewell("a1"))
    story.bob.append(story.hears(6))
    assert story.broken() == ["farewells"]


def test_on_leave_runs_where_rooms_tell_of_it(story: Story) -> None:
    story.says("t1", tally=1)
    story.ann += [Leaving(ROOM, 5), Left(ROOM, True, 6)]
    story.log.append(went("a1", count=1))
    story.bob.append(story.hears(5))
    assert story.broken() == ["farewells"]


# -- what is heard ---------------------------------------------------------------------------------


def test_somebody_hears_another_thing(story: Story) -> None:
    story.bob[-1] = Heard(ROOM, 3, None, said("k1", digest=8), 3)
    assert story.broken() == ["agreement"]


def test_somebody_hears_what_is_not_in_the_log(story: Story) -> None:
    story.bob.append(Heard(ROOM, 4, None, said("k9"), 5))
    assert story.broken() == ["agreement"]


def test_a_private_message(story: Story) -> None:
    story.log.append(said("k2"))
    story.audiences[4] = Audience(users=("ann",))
    story.ann += [Sent(ROOM, "k2", 5), Acked(ROOM, "k2", 4, 5), story.hears(4)]
    story.log.append(said("k3"))
    story.ann += [Sent(ROOM, "k3", 5), Acked(ROOM, "k3", 5, 5), story.hears(5)]
    story.bob.append(story.hears(5, prev=3))
    assert story.broken() == []
    story.bob[-1:] = [story.hears(4), story.hears(5)]
    assert story.broken() == ["agreement"]


def test_ephemeral_events_are_somebodys(story: Story) -> None:
    story.ann += [Sent(ROOM, "e1", 5, durable=False), Acked(ROOM, "e1", None, 5)]
    story.bob.append(Heard(ROOM, None, None, replace(said("e1"), ts=None), 5))
    assert story.broken() == []
    story.bob.append(Heard(ROOM, None, None, replace(said("e2"), ts=None), 5))
    assert story.broken() == ["invention"]


def test_heard_twice(story: Story) -> None:
    story.bob.append(story.hears(3))
    assert story.broken() == ["order"]


def test_a_silent_hole(story: Story) -> None:
    story.says("k2")
    story.says("k3")
    del story.bob[-2]
    assert story.broken() == ["whole"], "a hole that the numbers tell is not silent, but remains"
    story.bob[-1] = story.hears(5, prev=3)
    assert story.broken() == ["order"]


def test_a_hole_that_the_numbers_told_is_filled_by_joining_again(story: Story) -> None:
    for key in ("k2", "k3", "k4"):
        story.says(key)
    # Seq 4 was lost; 6 came while the join was under way, and is told again after it.
    story.bob[-3:] = [
        story.hears(5), Joining(ROOM, 3, 6), story.hears(6),
        joined(6, "a1", "b1", since=3, at=7), story.hears(4), story.hears(5), story.hears(6),
    ]  # fmt: skip
    assert story.broken() == []


def test_the_last_event_is_missing(story: Story) -> None:
    story.says("k2")
    del story.bob[-1]
    assert story.broken() == ["whole"]
    story.gone.add("bob")
    story.bob.append(Lost(6))
    assert "whole" not in story.broken()


def returned(story: Story, joined: Joined, session: str = "b1", at: float = 7) -> None:
    """Bob's connection is lost, he comes back, and joins."""
    opened = Opened("n1", session, session == "b1", at)
    story.bob += [Lost(6), opened, Joining(ROOM, joined.since, at), joined]


def test_what_was_missed_is_told(story: Story) -> None:
    story.says("k2")
    missed = story.bob.pop()
    returned(story, joined(4, "a1", "b1", since=3, at=7))
    assert story.broken() == ["whole"]
    story.bob.append(missed)
    assert story.broken() == []


def test_a_recovery_that_leaves_something_out(story: Story) -> None:
    story.says("k2")
    story.says("k3")
    last = story.bob.pop()
    story.bob.pop()
    returned(story, joined(5, "a1", "b1", since=3, at=7))
    assert isinstance(last, Heard)
    story.bob.append(replace(last, prev=3))
    assert story.broken() == ["order"]


def test_not_recovered_and_no_gap(story: Story) -> None:
    returned(story, replace(joined(3, "a1", "b1", since=3), recovered=False))
    assert story.broken() == ["gaps"]


def test_gaps_are_told_of_what_is_forgotten_only(story: Story) -> None:
    for number in range(2, 6):
        story.says(f"k{number}")
    last = story.bob.pop()
    del story.bob[-3:]
    told = Gap(4, 6, "retention")
    back = replace(joined(7, "a1", "b1", since=3), recovered=False, gap=told)
    returned(story, back)
    story.bob.append(last)
    assert story.broken() == ["gaps"], "the log has them"
    story.first = 7
    assert story.broken() == []
    story.bob[-2] = replace(back, gap=replace(told, reason="lost"))
    assert "lost" in story.broken()


def test_a_gap_among_live_events(story: Story) -> None:
    for key in ("k2", "k3"):
        story.says(key)
    story.bob[-2] = GapTold(ROOM, Gap(4, 4, "retention"), 5)
    assert story.broken() == ["gaps"]
    story.first = 5
    assert "gaps" not in story.broken()
    assert "whole" not in story.broken()


def test_another_epoch(story: Story) -> None:
    returned(story, joined(3, "a1", "b1", since=3, epoch="other"))
    assert story.broken() == ["epoch"]
    assert EPOCH != "other"


def test_the_newest_events(story: Story) -> None:
    returned(story, joined(3, "a1", "b1", since="last:2"))
    story.bob += [story.hears(2), story.hears(3)]
    assert story.broken() == []
    del story.bob[-1]
    assert story.broken() == ["whole"]
    del story.bob[-1]
    story.says("k2")
    assert "order" in story.broken()


def test_a_join_without_an_answer(story: Story) -> None:
    story.bob += [Lost(6), Opened("n1", "b1", True, 7), Joining(ROOM, 3, 7)]
    assert "answered" in story.broken()
    story.bob.append(Refused(ROOM, None, "unavailable", 8, join=True))
    assert "answered" not in story.broken()


def test_the_answer_to_a_leave_may_come_after_that_to_a_later_join(story: Story) -> None:
    story.bob += [
        Leaving(ROOM, 5), Joining(ROOM, 3, 5), joined(3, "a1", "b1", since=3, at=6),
        Left(ROOM, True, 6),
    ]  # fmt: skip
    assert story.broken() == []
    story.says("k2")
    del story.bob[-1]
    assert story.broken() == ["whole"], "he is a member, and is not told"


def test_an_answer_to_an_earlier_join_is_not_listened_to(story: Story) -> None:
    story.says("k2")
    missed = story.bob.pop()
    back = joined(4, "a1", "b1", since=3, at=6)
    story.bob += [
        Joining(ROOM, 3, 5), Leaving(ROOM, 5), Joining(ROOM, 3, 5), back, missed, back, missed,
    ]  # fmt: skip
    assert story.broken() == []


def test_a_join_that_was_left_before_its_answer_gets_none(story: Story) -> None:
    back = joined(3, "a1", "b1", since=3, at=6)
    story.bob += [Joining(ROOM, 3, 5), Leaving(ROOM, 5), Joining(ROOM, 3, 5)]
    assert story.broken() == ["answered"]
    story.bob += [Left(ROOM, True, 6), back]
    assert story.broken() == []
    story.says("k2")
    story.bob.pop()
    assert story.broken() == ["whole"], "it is listened to"
    story.bob += [story.hears(4), Joining(ROOM, 4, 7)]
    assert story.broken() == ["answered"], "a leave voids no later join"


def test_history_is_read_whole(story: Story) -> None:
    told = tuple(enumerate(story.log, 1))
    story.bob.append(Read(ROOM, None, 0, told, False, 6))
    story.bob.append(Read(ROOM, 3, None, told[:2], False, 6))
    assert story.broken() == []
    for wrong in (told[:1] + told[2:], told[::-1]):
        story.bob[-1] = Read(ROOM, None, 0, wrong, False, 6)
        assert story.broken() == ["reading"]
    story.bob[-1] = Read(ROOM, 3, None, told[:1], False, 6)
    assert story.broken() == ["reading"]
    story.bob[-1] = Read(ROOM, 2, None, ((1, said("k9")),), False, 6)
    assert story.broken() == ["agreement"]


# -- what becomes of what is said ------------------------------------------------------------------


def test_acked_and_not_in_the_log(story: Story) -> None:
    story.ann += [Sent(ROOM, "k2", 5), Acked(ROOM, "k2", 4, 6)]
    assert story.broken() == ["acked"]


def test_acked_as_something_else(story: Story) -> None:
    story.says("k2")
    story.ann[-1] = Acked(ROOM, "k2", 3, 6)
    assert story.broken() == ["acked"]
    story.ann[-1] = Acked(ROOM, "k2", None, 6)
    assert story.broken() == ["acked"]


def test_said_once_and_there_twice(story: Story) -> None:
    story.is_told(said("k1"))
    assert story.broken() == ["once"]


def test_nobody_said_it(story: Story) -> None:
    story.is_told(said("k9"))
    assert story.broken() == ["once"]


def test_retries(story: Story) -> None:
    seq = story.says("k2")
    story.ann[-1:] = [
        Refused(ROOM, "k2", "unavailable", 6), Sent(ROOM, "k2", 7), Acked(ROOM, "k2", seq, 8, True),
    ]  # fmt: skip
    verdict = story.verdict()
    assert verdict.violations == ()
    assert (verdict.counts["retried"], verdict.counts["duplicates"]) == (1, 1)
    assert verdict.refusals == {"unavailable": 1}
    assert verdict.worst is not None
    assert (verdict.worst.key, verdict.worst.seconds) == ("k2", 3)


def test_what_was_refused_leaves_no_trace(story: Story) -> None:
    story.ann += [
        Sent(ROOM, "k2", 5, fine=("handler_failed",)), Refused(ROOM, "k2", "handler_failed", 6),
    ]  # fmt: skip
    assert story.broken() == []
    story.is_told(said("k2"))
    assert story.broken() == ["traceless"]


def test_no_answer(story: Story) -> None:
    story.ann.append(Sent(ROOM, "k2", 5))
    assert story.broken() == ["answered"]
    story.gone.add("ann")
    assert story.broken() == []
    story.gone.clear()
    story.ann[-1] = Sent(ROOM, "k2", 5, durable=False, awaited=False)
    assert story.broken() == []


def test_no_answer_to_who_has_left(story: Story) -> None:
    story.ann += [Sent(ROOM, "k2", 5), Leaving(ROOM, 6), Left(ROOM, True, 7)]
    story.log.append(went("a1", count=1))
    story.bob.append(story.hears(4))
    assert story.broken() == []


def test_errors_that_a_client_has_not_deserved(story: Story) -> None:
    story.ann += [Sent(ROOM, "k2", 5), Refused(ROOM, "k2", "handler_failed", 6)]
    assert story.broken() == ["errors"]


def test_not_joined_is_for_those_who_have_left(story: Story) -> None:
    story.ann += [Sent(ROOM, "k2", 5), Refused(ROOM, "k2", "not_joined", 6)]
    assert story.broken() == ["errors"]
    story.log.append(went("a1", count=1))
    story.ann[-2:-2] = [Leaving(ROOM, 5), Left(ROOM, True, 6)]
    story.bob.append(story.hears(4))
    assert story.broken() == []
    story.log.append(came("a1", count=2))
    story.bob.append(story.hears(5))
    story.ann[-2:-2] = [Joining(ROOM, "new", 6), joined(5, "a1", "b1", at=6)]
    assert story.broken() == ["errors"], "it has come back before it said so"


# -- who is there ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry", [came("a1", count=2), went("c1", count=2), went("b1", count=2), came("c1", count=2)]
)
def test_presence_that_does_not_add_up(story: Story, entry: Content) -> None:
    story.is_told(entry)
    assert "presence" in story.broken()


def test_a_block_that_counts_wrongly(story: Story) -> None:
    story.blocks = (Written(1, "n1.x", 1, EPOCH, 1, 3, 2),)
    assert story.broken() == []
    story.blocks = (Written(1, "n1.x", 1, EPOCH, 1, 3, 3),)
    assert story.broken() == ["presence"]


def test_lists_of_members(story: Story) -> None:
    story.bob.append(Listed(ROOM, 3, frozenset({"a1", "b1"}), 2, 5))
    assert story.broken() == []
    for wrong in (({"a1"}, 1), ({"a1", "c1"}, 2), ({"a1"}, 3)):
        story.bob[-1] = Listed(ROOM, 3, frozenset(wrong[0]), wrong[1], 5)
        assert story.broken() == ["presence"]


def test_a_joiner_is_among_the_members_it_is_told(story: Story) -> None:
    story.bob[2] = joined(2, "a1", at=2)
    assert story.broken() == ["presence"]


def left_and_back(story: Story, lost_at: float, back_at: float) -> None:
    """Bob was away from `lost_at` to `back_at`, and the log says that he left."""
    story.log += [went("b1", count=1), came("b1", count=2)]
    story.ann += [story.hears(4), story.hears(5)]
    story.bob += [
        Lost(lost_at), Opened("n1", "b1", True, back_at), Joining(ROOM, 3, back_at),
        joined(5, "a1", "b1", since=3, at=back_at), story.hears(4), story.hears(5),
    ]  # fmt: skip


@pytest.mark.parametrize(("away_s", "noticed"), [(1.0, True), (4.5, False), (20.0, False)])
def test_who_comes_back_in_time_has_not_left(story: Story, away_s: float, noticed: bool) -> None:
    left_and_back(story, 10, 10 + away_s)
    assert story.broken() == (["grace"] if noticed else [])


def test_who_stays_has_not_left(story: Story) -> None:
    for entry in (went("b1", count=1), came("b1", count=2)):
        story.is_told(entry)
    assert story.broken() == ["grace"]
    story.troubles = [Trouble("cut", "n2", 20, 30)]
    assert story.broken() == [], "its node was taken for dead"
    story.troubles = [Trouble("cut", "n2", 20, 22)]
    assert story.broken() == ["grace"], "not for so short a time"
    story.troubles = [Trouble("cut", "n1", 20, 30)]
    assert story.broken() == ["grace"], "another node was"
    story.troubles = [Trouble("grow", None, 20, 30, harms=False)]
    assert story.broken() == ["grace"], "that does no harm"


def test_who_leaves_before_its_join_is_answered_may_leave(story: Story) -> None:
    story.bob += [Leaving(ROOM, 39), Left(ROOM, True, 39), Joining(ROOM, 3, 39)]
    for entry in (went("b1", count=1), came("b1", count=2), went("b1", count=1)):
        story.log.append(entry)
        story.ann.append(story.hears(len(story.log)))
    answer = joined(5, "a1", "b1", since=3, at=41)
    story.bob += [Leaving(ROOM, 39.5), answer, Left(ROOM, True, 42)]
    assert story.broken() == []
    story.bob[-3:] = [answer, story.hears(4), story.hears(5), story.hears(6)]
    assert story.broken() == ["grace", "present"], "it did not leave the second time"


@pytest.mark.parametrize(("heard_at", "noticed"), [(19, True), (21, False)])
def test_what_was_told_before_a_trouble_is_not_excused_by_it(
    story: Story, heard_at: float, noticed: bool
) -> None:
    story.is_told(went("b1", count=1), heard_at)
    story.is_told(came("b1", count=2))
    story.troubles = [Trouble("cut", "n2", 20, 30)]
    assert story.broken() == (["grace"] if noticed else [])


def test_what_was_told_before_somebody_went_is_not_excused_by_that(story: Story) -> None:
    story.is_told(went("b1", count=1), 40)
    story.bob += [Leaving(ROOM, 50), Left(ROOM, True, 51)]
    assert story.broken() == ["grace"]
    story.bob[-2:] = [Leaving(ROOM, 39), Left(ROOM, True, 51)]
    assert story.broken() == []


def test_who_leaves_has_left(story: Story) -> None:
    story.log.append(went("b1", count=1))
    story.ann.append(story.hears(4))
    story.bob += [Leaving(ROOM, 5), Left(ROOM, True, 6)]
    assert story.broken() == []
    story.bob[-2:] = [Lost(5, 1000, parted=True)]
    assert story.broken() == []


def test_in_the_end_those_are_members_who_are_there(story: Story) -> None:
    story.bob.append(Lost(50))
    story.gone.add("bob")
    assert story.broken() == ["present"], "he is still a member, long after his grace"
    story.bob[-1] = Lost(95)
    assert story.broken() == [], "he may be, for now"
    story.bob[-1] = Lost(50)
    story.log.append(went("b1", count=1))
    story.ann.append(story.hears(4, at=60))
    assert story.broken() == []


def test_in_the_end_whoever_does_not_stay_away_is_connected(story: Story) -> None:
    story.bob.append(Lost(99, 1006))
    assert story.broken() == ["connected"]
    story.bob += [Opened("n1", "b1", True, 100), Joining(ROOM, 3, 100)]
    story.bob.append(joined(3, "a1", "b1", since=3, at=100))
    assert story.broken() == []
    story.bob.clear()
    sentences = [v.sentence for v in story.verdict().violations if v.rule == "connected"]
    assert sentences == ["bob was never let in."]


def test_in_the_end_somebody_is_no_member(story: Story) -> None:
    story.troubles = [Trouble("cut", "n2", 20, 30)]
    story.is_told(went("b1", count=1))
    assert story.broken() == ["present"]


# -- the rest --------------------------------------------------------------------------------------


def test_outages_by_trouble(story: Story) -> None:
    story.says("k2", at=10)
    story.ann[-1] = Acked(ROOM, "k2", 4, 14)
    story.says("k3", at=20)
    story.ann[-1] = Acked(ROOM, "k3", 5, 21)
    story.troubles = [
        Trouble("kill", "n1", 11, 13), Trouble("kill", "n1", 60, 61),
        Trouble("drain", "n2", 20, 25),
    ]  # fmt: skip
    verdict = story.verdict()
    waits = {kind: wait.seconds for kind, wait in verdict.outages.items()}
    assert waits == {"kill": 4, "drain": 1}
    assert verdict.worst is not None
    assert verdict.worst.key == "k2"


def test_who_breaks_its_own_connection_does_not_wait(story: Story) -> None:
    story.says("k2", at=10)
    story.ann[-1:] = [
        Broke(11), Lost(11), Opened("n1", "a1", True, 29), Joining(ROOM, 4, 29),
        joined(4, "a1", "b1", since=4, at=29), Sent(ROOM, "k2", 30), Acked(ROOM, "k2", 4, 31),
    ]  # fmt: skip
    story.troubles = [Trouble("cut", "n1", 12, 28)]
    verdict = story.verdict()
    assert verdict.violations == ()
    assert verdict.worst is not None
    assert verdict.worst.seconds == 1


def test_a_log_is_made_from_blocks() -> None:
    member = Member("a1", "ann", "Ann", "n1", "x")
    person = '{"user":"ann","name":"Ann","session":"a1"}'
    came = f'{{"type":"presence","room":"lobby","seq":1,"ts":5,"data":{{"joined":[{person}],'
    came = f'{came}"left":[],"count":1}}}}'
    says = f'{{"type":"chat.message","room":"lobby","seq":2,"ts":6,"from":{person},'
    says = f'{says}"data":{{"key":"k1"}}}}'
    log = RoomLog.of(
        ROOM,
        [
            Block(1, "n1.x", 1, EPOCH, 1, 5, 0),
            Block(1, "n1.x", 2, EPOCH, 1, 5, 1, (Entry(1, came.encode()),), (Entered(member),)),
            Block(
                1, "n1.x", 3, EPOCH, 2, 6, 0, (Entry(2, says.encode()),), (Exited("a1", "left"),)
            ),
        ],
    )
    assert (log.epoch, log.oldest, log.head) == (EPOCH, 1, 2)
    assert log.entries[0].content.joined == {"a1"}
    assert log.entries[0].content.count == 1
    assert (log.entries[1].content.key, log.entries[1].content.sender) == ("k1", "a1")
    assert [(block.first, block.last) for block in log.blocks] == [(1, 0), (1, 1), (2, 2)]
    assert log.blocks[2].exits == (("a1", "left"),)
    assert log.blocks[0].node == "n1"


def test_evidence_knows_whose_a_session_is(story: Story) -> None:
    evidence = Evidence([], [story.logged], BOUNDS, [])
    assert evidence.owner("a1") == "a1"
    assert evidence.attendance[ROOM].at(0) == frozenset()
    assert evidence.attendance[ROOM].at(1) == {"a1"}
    assert evidence.attendance[ROOM].last == {"a1", "b1"}
