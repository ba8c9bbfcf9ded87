"""Who is in a room: a fold of joins and leaves, asked in many ways, and taken back when need be."""

from hypothesis import given
from hypothesis import strategies as st

from roomful_protocol.blocks import Entered, Exited, Member
from roomful_protocol.frames import Target
from roomful_rooms.presence import LISTED, Presence


def member(session: str, user: str = "ann", node: str = "n1") -> Member:
    return Member(session, user, user.title(), node, f"a-{node}")


ANN_1, ANN_2, BOB = member("s1"), member("s2", node="n2"), member("s3", "bob")


def test_it_is_asked_by_session_user_and_node() -> None:
    presence = Presence([ANN_1, BOB, ANN_2])
    assert list(presence) == [ANN_1, BOB, ANN_2]
    assert len(presence) == 3
    assert "s1" in presence
    assert presence.get("s3") == BOB
    assert presence.get("s9") is None
    assert presence.of("ann") == (ANN_1, ANN_2)
    assert presence.of("zoe") == ()
    assert presence.nodes == {("n1", ""), ("n2", "")}


def test_who_moves_keeps_its_place_and_leaves_the_old_node() -> None:
    presence = Presence([ANN_1, BOB])
    moved = member("s1", node="n9")
    presence.enter(moved)
    assert list(presence) == [moved, BOB]
    assert presence.nodes == {("n1", ""), ("n9", "")}
    assert presence.of("ann") == (moved,)


def test_whether_somebody_is_or_was_at_another_node() -> None:
    presence = Presence([ANN_1])
    assert not presence.elsewhere("n1")
    assert presence.elsewhere("n2")
    presence.enter(ANN_2)
    assert presence.elsewhere("n1")
    presence.exit("s2")
    assert presence.elsewhere("n1"), "it may not have been heard there"
    assert not Presence().elsewhere("n1")


def test_who_leaves_leaves_nothing_behind() -> None:
    presence = Presence([ANN_1, BOB])
    assert presence.exit("s1") == ANN_1
    assert presence.exit("s1") is None
    assert list(presence) == [BOB]
    assert presence.of("ann") == ()
    presence.exit("s3")
    assert presence.nodes == frozenset()
    assert (presence._users, presence._nodes) == ({}, {})


def test_targets_reach_each_member_once() -> None:
    presence = Presence([ANN_1, BOB, ANN_2])
    targets = [Target("user", "ann"), Target("session", "s1"), Target("session", "gone")]
    assert list(presence.reached(targets)) == ["s1", "s2"]
    assert presence.reached([Target("user", "nobody")]) == {}


def test_of_many_members_the_first_are_listed() -> None:
    presence = Presence(member(f"s{number}") for number in range(LISTED + 5))
    assert len(presence.listed()) == LISTED
    assert presence.listed()[0].session == "s0"


def test_a_handler_in_progress_can_be_looked_behind_and_undone() -> None:
    presence = Presence([ANN_1, BOB])
    moved = member("s1", node="n9")
    presence.enter(moved)
    presence.enter(ANN_2)
    presence.exit("s3")
    before = {"s1": ANN_1, "s2": None, "s3": BOB}
    assert set(presence.as_before(before)) == {ANN_1, BOB}
    assert set(presence) == {moved, ANN_2}
    presence.restore(before)
    assert set(presence) == {ANN_1, BOB}
    assert presence.nodes == {("n1", "")}


sessions, nodes = st.sampled_from(["s1", "s2", "s3", "s4"]), st.sampled_from(["n1", "n2"])
changes = st.lists(
    st.builds(lambda s, n: Entered(member(s, f"user-of-{s}", n)), sessions, nodes)
    | st.builds(lambda s: Exited(s, "left"), sessions),
    max_size=20,
)


@given(changes, st.integers(0, 20))
def test_folding_in_parts_or_from_a_snapshot_is_the_same(
    all_changes: list[Entered | Exited], cut: int
) -> None:
    whole, model = Presence(), dict[str, Member]()
    whole.apply(all_changes)
    for change in all_changes:
        match change:
            case Entered(one):
                model[one.session] = one
            case Exited(session):
                model.pop(session, None)
    part = Presence()
    part.apply(all_changes[:cut])
    resumed = Presence(part)
    resumed.apply(all_changes[cut:])
    assert list(whole) == list(resumed) == list(model.values())
    for presence in (whole, resumed):
        assert presence.nodes == {(one.node, "") for one in model.values()}
        for user in {one.user for one in model.values()}:
            assert set(presence.of(user)) == {one for one in model.values() if one.user == user}
