"""Entries as one client is written them: shared where that is right, its own where it is not."""

import pytest
from tests.support.sockets import Member, check_chain, entry, frames_in

from roomful_nodes.runs import Wires, common_run, composed, shown_to
from roomful_protocol.blocks import Audience, Entry
from roomful_protocol.codecs import JSON, MSGPACK, Codec

TYPING = Entry(0, b'{"type":"chat.typing"}')


@pytest.mark.parametrize("codec", [JSON, MSGPACK])
def test_a_run_for_all_is_what_would_be_composed_for_each(codec: Codec) -> None:
    entries = [entry(5), TYPING, entry(6, text="x" * 2000), TYPING]
    run = common_run(entries, codec, 4)
    assert run is not None
    assert run == composed(entries, Wires(), codec, 4, Member("a", codec=codec))
    data, last = run
    assert [payload for _, payload in frames_in(data)] == [codec.shown(e.frame) for e in entries]
    assert last == 6


@pytest.mark.parametrize(
    "entries",
    [
        [entry(5), entry(6, Audience(skip="a"))],
        [entry(5), Entry(0, TYPING.frame, Audience(users=("ann",)))],
        [entry(6)],
        [entry(4), entry(6)],
        [entry(5), entry(7)],
    ],
    ids=["echo", "whisper", "hole before", "old", "hole within"],
)
def test_there_is_no_run_for_all_where_somebody_needs_another(entries: list[Entry]) -> None:
    assert common_run(entries, JSON, 4) is None


def test_nothing_is_a_run_that_leaves_everybody_where_he_was() -> None:
    assert common_run([], JSON, 4) == (b"", 4)


def test_the_past_is_shown_with_its_holes_to_whom_it_has_some() -> None:
    member = Member("a", "ann")
    data, last = shown_to(member, [entry(5), entry(6, Audience(users=("bob",))), entry(7)], 4)
    member.outbox.write(data)
    assert (member.seqs, last) == ([5, 7], 7)
    check_chain(member.frames, 4)
