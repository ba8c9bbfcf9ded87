"""What is decided once stays decided: numbers, ids, ghosts, repeats, bounds, and rebuilding."""

import pytest
from tests.support.ledgers import restored

from roomful_protocol.blocks import Done, Member
from roomful_protocol.errors import Code
from roomful_protocol.frames import NEW
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
)  # fmt: skip
from roomful_rooms import ledger as module
from roomful_rooms.ledger import GLOBAL_ID, Ledger, Link

ENTER = Enter(NEW, None)
UUID = "0123456789abcdef"


def sender(session: str = "s1", attach: str = "a1", user: str = "ann") -> Sender:
    return Sender(session, user, user.title(), "n1", attach)


def member(by: Sender) -> Member:
    return Member(by.session, by.user, by.name, by.node, by.attach)


def command(by: Sender, ask: Ask, n: int = 0, base: int | None = None) -> Command:
    return Command("lobby", by, ask, n, n if base is None else base)


def say(id: str | int | None = None) -> Say:
    return Say("chat.message", "hi", id)


def done(
    by: Sender, n: int, seq: int | None = 1, id: str | int | None = None, **rest: object
) -> Done:
    return Done(by.session, by.attach, n, by.user, id, seq, **rest)  # type: ignore[arg-type]


def verdict(ledger: Ledger, asked: Command) -> Answer | None:
    return ledger.verdict(asked, member(asked.sender))


# -- numbers ---------------------------------------------------------------------------------------


def test_the_next_number_is_carried_out_a_repeat_is_answered_and_a_hole_is_not_taken() -> None:
    ledger, ann = Ledger(), sender()
    assert verdict(ledger, command(ann, say(), 1)) is None
    ledger.record(done(ann, 1, seq=7, data={"x": 1}))
    assert verdict(ledger, command(ann, say(), 1)) == Accepted(7, {"x": 1}, duplicate=True)
    assert verdict(ledger, command(ann, say(), 2, base=1)) is None
    assert verdict(ledger, command(ann, say(), 3, base=1)) == MOVED


def test_the_base_lets_a_new_owner_skip_what_was_answered_without_a_trace() -> None:
    assert verdict(Ledger(), command(sender(), say(), 9, base=9)) is None
    assert verdict(Ledger(), command(sender(), say(), 9, base=8)) == MOVED


def test_a_refusal_is_repeated_as_a_refusal() -> None:
    ledger, ann = Ledger(), sender()
    ledger.record(done(ann, 1, seq=None, denied=("forbidden", "No.")))
    assert verdict(ledger, command(ann, say(), 1)) == Denied("forbidden", "No.")


def test_a_decision_that_is_recorded_again_is_kept_once() -> None:
    """As a block may bring it that a snapshot has already."""
    ledger, ann = Ledger(), sender()
    for n in (1, 2, 1, 2):
        ledger.record(done(ann, n, seq=n))
    assert [one.n for one in ledger] == [1, 2]


def test_what_has_no_number_is_never_a_repeat() -> None:
    ledger, ann = Ledger(), sender()
    ledger.record(done(ann, 3))
    assert verdict(ledger, command(ann, say())) is None


def test_what_its_gateway_has_the_answer_to_is_forgotten() -> None:
    ledger, ann = Ledger(), sender()
    for n in (1, 2, 3):
        ledger.record(done(ann, n, seq=n))
    assert verdict(ledger, command(ann, say(), 4, base=3)) is None
    assert [one.n for one in ledger] == [3]
    assert verdict(ledger, command(ann, say(), 3)) == Accepted(3, duplicate=True)


def test_refused_joins_do_not_make_a_room_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 8)
    ledger, bob = Ledger(), sender("s2", "b", "bob")
    for number in range(50):
        refused = sender(attach=f"a{number}")
        ledger.record(done(refused, 1, seq=None, denied=("room_full", "Full.")))
    ledger.record(done(bob, 1, seq=7))
    assert verdict(ledger, command(bob, say(), 1)) == Accepted(7, duplicate=True)


def test_a_number_that_nobody_asks_for_does_not_come_back_with_its_id() -> None:
    ledger, ann = Ledger(), sender()
    for n in (1, 2, 3):
        ledger.record(done(ann, n, seq=n, id=f"id-{n}"))
    assert verdict(ledger, command(ann, say(), 4, base=3)) is None
    rebuilt = restored(ledger, ["s1"])
    known = [(0, "id-1"), (0, "id-2"), (0, "id-3")]
    assert [(one.n, one.id) for one in rebuilt] == [*known, (3, None)]
    assert verdict(rebuilt, command(ann, say("id-1"), 4, base=3)) == Accepted(1, duplicate=True)


# -- ids -------------------------------------------------------------------------------------------


def test_an_id_is_its_sessions_and_a_long_one_its_users() -> None:
    ledger, here, there = Ledger(), sender("s1", "a1"), sender("s2", "a2")
    ledger.record(done(here, 1, seq=7, id="1"))
    ledger.record(done(here, 2, seq=8, id=UUID))
    assert len(UUID) == GLOBAL_ID
    assert verdict(ledger, command(here, say("1"), 3)) == Accepted(7, duplicate=True)
    assert verdict(ledger, command(there, say("1"), 1)) is None
    assert verdict(ledger, command(there, say(UUID), 1)) == Accepted(8, duplicate=True)
    stranger = sender("s3", "a3", "bob")
    assert verdict(ledger, command(stranger, say(UUID), 1)) is None


def test_a_number_as_id_is_not_the_string_that_looks_like_it() -> None:
    ledger, ann = Ledger(), sender()
    ledger.record(done(ann, 1, id=1))
    assert verdict(ledger, command(ann, say("1"), 2)) is None
    assert verdict(ledger, command(ann, say(1), 2)) is not None


def test_a_refused_id_may_be_tried_again() -> None:
    ledger, ann = Ledger(), sender()
    ledger.record(done(ann, 1, seq=None, id=UUID, denied=("busy", "Later.")))
    assert verdict(ledger, command(ann, say(UUID), 2)) is None


def test_a_repeated_id_takes_up_its_number_so_that_the_next_need_not_wait() -> None:
    ledger, ann = Ledger(), sender()
    ledger.record(done(ann, 1, seq=7, id=UUID))
    again = command(ann, say(UUID), 2, base=1)
    answer = verdict(ledger, again)
    assert answer == Accepted(7, duplicate=True)
    record = done(ann, 2, seq=7)
    assert ledger.renumbered(again, Accepted(7, duplicate=True)) == record
    ledger.record(record)
    assert verdict(ledger, command(ann, say(), 3, base=1)) is None
    assert ledger.renumbered(again, Accepted(7, duplicate=True)) is None
    assert ledger.renumbered(command(ann, say(), 4), MOVED) is None


# -- attachments -----------------------------------------------------------------------------------


def test_after_a_session_has_moved_its_old_gateway_is_a_ghost() -> None:
    ledger, old, new = Ledger(), sender(attach="a1"), sender(attach="a2")
    ledger.record(done(old, 5))
    assert verdict(ledger, command(new, ENTER, 1)) is None
    ledger.record(done(new, 1))
    ghost = ledger.verdict(command(old, say(), 6), member(new))
    assert isinstance(ghost, Denied)
    assert ghost.code == Code.NOT_JOINED.slug
    assert isinstance(ledger.verdict(command(old, ENTER, 6), member(new)), Denied)
    assert verdict(ledger, command(new, say(), 2)) is None


def test_a_ghost_that_was_forgotten_still_cannot_speak_for_the_session() -> None:
    """Nor take it over: only entering moves a session."""
    new = sender(attach="a2")
    for ask in (say(), Exit()):
        ghost = Ledger().verdict(command(sender(attach="a1"), ask, 6), member(new))
        assert isinstance(ghost, Denied)
        assert ghost.code == Code.NOT_JOINED.slug


@pytest.mark.parametrize("attach", ["a1", "3.x.a", "2.x.a"])
def test_a_ghost_is_one_after_a_snapshot_too(attach: str) -> None:
    """Its join must not begin anew when its gateway asks the next owner for it again."""
    ledger, old, new = Ledger(), sender(attach=attach), sender(attach="3.x.b")
    ledger.record(done(old, 1))
    ledger.record(done(new, 1))
    assert ledger.verdict(command(new, say(), 2), member(new)) is None
    rebuilt = restored(ledger, ["s1"])
    late = command(old, ENTER, 1)
    assert isinstance(rebuilt.verdict(late, member(new)), Denied)
    assert rebuilt.verdict(late, member(new)) == ledger.verdict(late, member(new))
    assert verdict(rebuilt, command(new, say(), 2)) is None


def test_so_many_ghosts_of_one_session_are_known() -> None:
    ledger = Ledger()
    for number in range(30):
        ledger.attach("s1", f"a{number}")
    known = [number for number in range(30) if ledger.superseded("s1", f"a{number}")]
    assert known == list(range(21, 29))


def test_a_repeated_join_is_welcomed_anew_only_while_it_holds() -> None:
    ledger, ann = Ledger(), sender()
    ledger.record(done(ann, 1))
    assert ledger.verdict(command(ann, ENTER, 1), member(ann)) is None
    ledger.record(done(ann, 2))
    left = ledger.verdict(command(ann, ENTER, 1), None)
    assert isinstance(left, Denied)
    assert left.code == Code.NOT_JOINED.slug


def test_a_repeated_join_that_was_refused_is_refused_though_there_were_place_now() -> None:
    ledger, ann = Ledger(), sender()
    ledger.record(done(ann, 1, seq=None, denied=("room_full", "Full.")))
    assert ledger.verdict(command(ann, ENTER, 1), None) == Denied("room_full", "Full.")


# -- bounds, and what survives them ----------------------------------------------------------------


def test_old_decisions_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 4)
    ledger, ann = Ledger(), sender()
    for n in range(1, 101):
        ledger.record(done(ann, n, seq=n, id=f"id-{n}"))
    assert [one.id for one in ledger if not one.n] == ["id-97", "id-98", "id-99", "id-100"]
    assert [one.n for one in ledger if one.n] == [97, 98, 99, 100]
    assert verdict(ledger, command(ann, say("id-96"), 101)) is None
    assert verdict(ledger, command(ann, say("id-97"), 101)) == Accepted(97, duplicate=True)
    # Its number says that it was decided, though no longer how.
    assert verdict(ledger, command(ann, say(), 96)) == Accepted(duplicate=True)


def test_what_is_answered_makes_nobody_forget_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it is kept after its gateway has said that it has the answer."""
    monkeypatch.setattr(module, "REMEMBERED", 16)
    ledger, quiet, loud = Ledger(), sender("s1", "a1"), sender("s2", "a2", "bob")
    ledger.record(done(quiet, 1, seq=7))
    for n in range(1, 101):
        assert verdict(ledger, command(loud, say(), n)) is None
        ledger.record(done(loud, n, seq=n))
    assert verdict(ledger, command(quiet, say(), 1)) == Accepted(7, duplicate=True)
    assert [one.n for one in ledger if one.session == "s2"] == [100]


def test_the_newest_ids_are_known_across_a_snapshot_however_many_speak(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What many others said last, who need not have heard the answer, is older than these."""
    monkeypatch.setattr(module, "REMEMBERED", 64)
    ledger, ann = Ledger(), sender()
    others = [sender(f"o{number}", "a2", f"user {number}") for number in range(80)]
    for other in others:
        ledger.record(done(other, 1, id=UUID))
    for n in range(1, 11):
        assert verdict(ledger, command(ann, say(), n)) is None
        ledger.record(done(ann, n, seq=n, id=f"{UUID}{n}"))
    rebuilt = restored(ledger, ["s1", *[other.session for other in others]])
    for number in range(50):
        rebuilt.record(done(others[number], 2, id=f"{UUID}!"))
    for n in range(1, 11):
        again = command(sender("s2", "a3"), say(f"{UUID}{n}"), 1)
        assert rebuilt.verdict(again, member(again.sender)) == Accepted(n, duplicate=True)


def test_sessions_that_were_silent_for_longest_are_forgotten_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "LINKS", 3)
    ledger = Ledger()
    for name in ("s1", "s2", "s3", "s1", "s4"):
        ledger.attach(name, name)
    assert [ledger.link(name, name) is not None for name in ("s1", "s2", "s3", "s4")] == [
        True, False, True, True,
    ]  # fmt: skip


def test_who_has_left_is_forgotten_once_nothing_is_asked_of_it_any_more() -> None:
    ledger, ann, bob = Ledger(), sender(), sender("s2", "a2", "bob")
    for one in (ann, bob):
        ledger.record(done(one, 1))
        ledger.record(done(one, 2, id=UUID + one.user))
    left = command(bob, ENTER, 1)
    ledger.forget({"s1"})
    assert isinstance(ledger.verdict(left, None), Denied), "it may just have left"
    ledger.record(done(bob, 3))
    ledger.forget({"s1"})
    assert isinstance(ledger.verdict(left, None), Denied), "it has asked since"
    ledger.forget({"s1"})
    assert ledger.link("s2", "a2") is None
    assert [one.n for one in ledger if one.session == "s2"] == [0], "by its id it is known"
    assert verdict(ledger, command(ann, say(), 2)) == Accepted(1, duplicate=True), "who is here"


def test_nobody_pays_for_how_many_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A room of thousands is not gone through each time that room is made for the newest."""
    monkeypatch.setattr(module, "REMEMBERED", 16)
    looked_at: list[Link] = []
    forget = Link.forget

    def counted(link: Link) -> None:
        looked_at.append(link)
        forget(link)

    monkeypatch.setattr(Link, "forget", counted)
    ledger, ann = Ledger(), sender()
    for number in range(500):
        ledger.record(done(sender(f"o{number}", f"o{number}"), 1))
    assert len(looked_at) < 3 * 500
    looked_at.clear()
    for n in range(1, 101):
        assert verdict(ledger, command(ann, say(), n, base=1)) is None
        ledger.record(done(ann, n, seq=n))
    assert len(looked_at) < 3 * 100
    assert 16 <= len([one for one in ledger if one.n]) <= 16 + 16 // 2
    assert verdict(ledger, command(ann, say(), 90)) == Accepted(90, duplicate=True)


def test_what_is_forgotten_leaves_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 4)
    ledger, ann = Ledger(), sender()
    for number in range(4):
        ledger.record(done(sender(f"g{number}", "a"), 1))
    ledger.forget(())
    ledger.forget(())
    for n in range(1, 5):
        ledger.record(done(ann, n, seq=n))
    assert verdict(ledger, command(ann, say(), 1)) == Accepted(1, duplicate=True)


def test_numbers_outlive_the_decisions_across_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 4)
    ledger, quiet, loud = Ledger(), sender("s1", "a1"), sender("s2", "a2", "bob")
    for n in range(1, 6):
        ledger.record(done(quiet, n))
    for n in range(1, 51):
        ledger.record(done(loud, n))
    rebuilt = restored(ledger, ["s1", "s2"])
    for n in range(1, 8):
        asked = command(quiet, say(), n, base=n)
        assert verdict(rebuilt, asked) == verdict(ledger, asked)
    assert verdict(rebuilt, command(quiet, say(), 5)) == Accepted(duplicate=True)
    assert verdict(rebuilt, command(loud, say(), 50)) == Accepted(1, duplicate=True)


# -- connections -----------------------------------------------------------------------------------


def test_a_join_over_an_earlier_connection_comes_too_late() -> None:
    ledger = Ledger()
    late, now = sender(attach="2.x.a"), sender(attach="3.x.b")
    ledger.attach(now.session, now.attach)
    refused = ledger.verdict(command(late, ENTER, 1), member(now))
    assert isinstance(refused, Denied)
    assert refused.code == Code.NOT_JOINED.slug
    assert ledger.verdict(command(late, ENTER, 1), None) == refused, "though it has left since"
    assert verdict(ledger, command(now, ENTER, 1)) is None


def test_of_two_attachments_over_one_connection_the_one_that_comes_later_counts() -> None:
    ledger = Ledger()
    one, other = sender(attach="2.x.a"), sender(attach="2.x.b")
    ledger.attach(one.session, one.attach)
    assert ledger.verdict(command(other, ENTER, 1), member(one)) is None


def test_whoever_comes_back_may_leave_what_it_has_not_joined_again() -> None:
    ledger = Ledger()
    before, after = sender(attach="2.x.a"), sender(attach="3.y.b")
    ledger.attach(before.session, before.attach)
    assert ledger.verdict(command(after, Exit(), 1), member(before)) is None
    assert isinstance(ledger.verdict(command(after, say(), 1), member(before)), Denied)
    ledger.attach(after.session, after.attach)
    assert isinstance(ledger.verdict(command(before, Exit("timeout"), 1), member(after)), Denied)
