"""What nodes tell each other survives packing, and anything else raises ValueError only."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful_protocol.blocks import Audience, Entry, Member, Page
from roomful_protocol.codecs.internode import (
    pack_answers,
    pack_commands,
    pack_live,
    pack_reached,
    pack_roll,
    pack_to_session,
    unpack_answers,
    unpack_commands,
    unpack_live,
    unpack_reached,
    unpack_roll,
    unpack_to_session,
)
from roomful_protocol.codecs.values import pack
from roomful_protocol.frames import NEW, Since, Target
from roomful_protocol.messages import (
    MOVED,
    Accepted,
    Answer,
    Ask,
    Claim,
    Command,
    Denied,
    Direct,
    Enter,
    Entries,
    Exit,
    Kick,
    Listing,
    Live,
    Read,
    Receipt,
    Say,
    Sender,
    ToSession,
    Welcome,
    Who,
)

SENDER = Sender("a-1", "ann", "Ann", "a", "x1")
BOB = Member("b-1", "bob", "Боб", "b", "x2")
ENTRIES = (Entry(4, b"{}"), Entry(5, b"{}", Audience(users=("bob",))))

ASKS: list[Ask] = [
    Enter(NEW, None),
    Enter(Since(after=12), "k3f9", resumed=True),
    Enter(Since(last=50), None),
    Exit(),
    Exit("node_lost"),
    Say("chat.message", {"text": "hi", "list": [1, [2.5, None]], "raw": b"\x00"}, "id-1"),
    Say("a.b", None, 7, None, (Target("user", "bob"), Target("session", "b-1")), True, False, True),
    Read(),
    Read(after=3, limit=10),
    Read(before=3),
    Who(),
]
ANSWERS: list[Answer] = [
    Accepted(),
    Accepted(58, {"votes": [1, 2]}, True, 2),
    Welcome(57, "k3f9", 2, (BOB,), 3, ENTRIES, True),
    Welcome(57, "k3f9", 2, (), 3, None, False, (1, 3, "retention")),
    Entries("k3f9", 57, 1),
    Entries("k3f9", 57, 1, ENTRIES, (Page(1, 3),), True),
    Listing(57, "k3f9", 1, (BOB,)),
    Denied("busy", "Later.", 250),
    Denied("forbidden", "No."),
    MOVED,
]
TO_SESSION: list[ToSession] = [Direct(b"{}", "a", "f001"), Claim("b", 2), Kick("kicked")]
DECODERS: list[Callable[[bytes], object]] = [
    unpack_commands,
    unpack_answers,
    unpack_live,
    unpack_to_session,
    unpack_reached,
    unpack_roll,
]


def test_commands_survive_in_order() -> None:
    commands = [(n * 1000, Command("lobby 🦊", SENDER, ask, n, 1)) for n, ask in enumerate(ASKS)]
    assert unpack_commands(pack_commands(commands)) == commands


def test_answers_survive_in_order() -> None:
    answers = list(enumerate(ANSWERS))
    assert unpack_answers(pack_answers(answers)) == answers


@pytest.mark.parametrize(
    "live",
    [
        Live((Entry(0, b"{}"),)),
        Live(head=9),
        Live((Entry(0, b"{}", Audience(skip="a-1")), Entry(0, b"[]"))),
    ],
)
def test_live_survives(live: Live) -> None:
    assert unpack_live(pack_live(live)) == live


@pytest.mark.parametrize("message", TO_SESSION)
def test_messages_to_a_session_survive(message: ToSession) -> None:
    assert unpack_to_session(pack_to_session(message)) == message


def test_what_was_reached_survives_in_order() -> None:
    reached: list[Receipt] = [("f001", 2), ("f002", 0), ("f003", None)]
    assert unpack_reached(pack_reached(reached)) == reached


def test_a_roll_call_survives() -> None:
    assert unpack_roll(pack_roll("a", "f003")) == ("a", "f003")


def test_replies_that_cannot_be_packed_are_refused() -> None:
    with pytest.raises(ValueError, match="Not a storable value"):
        pack_answers([(1, Accepted(data=object()))])


_scalars = st.none() | st.integers(0, 9) | st.text() | st.binary()
_shapes = st.recursive(_scalars, lambda inner: st.lists(inner, max_size=9), max_leaves=20)


@pytest.mark.parametrize("decode", DECODERS)
@given(st.binary() | st.lists(_shapes, max_size=4).map(lambda rest: pack([1, *rest])))
def test_malformed_messages_raise_value_error_only(
    decode: Callable[[bytes], object], data: bytes
) -> None:
    with suppress(ValueError):
        decode(data)


@pytest.mark.parametrize("decode", DECODERS)
def test_messages_of_another_format_are_named(decode: Callable[[bytes], object]) -> None:
    with pytest.raises(ValueError, match="format 2"):
        decode(pack([2, []]))
