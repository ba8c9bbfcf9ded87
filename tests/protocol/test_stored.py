"""The log's records survive packing, are cheap for hubs, and refuse what is not one."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from roomful_protocol.blocks import (
    Audience,
    Block,
    Done,
    Entered,
    Entry,
    Exited,
    Heard,
    Member,
    Page,
    Snapshot,
)
from roomful_protocol.codecs.stored import (
    pack_block,
    page_pieces,
    snapshot_pieces,
    unpack_block,
    unpack_heard,
    unpack_page,
    unpack_snapshot,
)
from roomful_protocol.codecs.values import pack, unpack

ANN = Member("a-1", "ann", "Ann", "a", "x1")
BOB = Member("b-1", "bob", "Боб", "b", "x2")
ENTRIES = (
    Entry(7, b'{"type":"presence"}'),
    Entry(8, b'{"type":"chat.message"}', Audience(skip="a-1")),
    Entry(9, b'{"type":"chat.whisper"}', Audience(users=("bob",), sessions=("a-1", "c-9"))),
)
DONE = (
    Done("a-1", "x1", 3, "ann", "6f1c", 8),
    Done("b-1", "x2", 1, "bob", 17, None, {"votes": [1, 2], "raw": b"\x00"}),
    Done("b-1", "x2", 2, "bob", None, 9),
    Done("b-1", "x2", 3, "bob", "6f1d", None, denied=("forbidden", "No.")),
)
BLOCK = Block(
    term=4,
    writer="w-1",
    number=12,
    epoch="k3f9",
    first=7,
    ts=1795230458730,
    count=2,
    entries=ENTRIES,
    members=(Entered(ANN), Entered(BOB, moved=True), Exited("c-9", "timeout")),
    state={"topic": "tea", "score": {"ann": 3}, "nothing": None},
    removed=("old",),
    done=DONE,
)
SNAPSHOT = Snapshot(
    position=99,
    epoch="k3f9",
    seq=9,
    ts=1795230458730,
    pages=(Page(1, 4), Page(5, 6)),
    members=(ANN, BOB),
    state={"topic": "tea"},
    done=tuple([replace(done, id=None) for done in DONE]),
)


def nested(depth: int) -> object:
    value: object = "core"
    for _ in range(depth):
        value = [value]
    return value


def test_block_survives() -> None:
    assert unpack_block(pack_block(BLOCK)) == BLOCK


def test_decisions_survive_beside_an_authors_kind_of_string() -> None:
    class Key(str):
        pass

    assert unpack_block(pack_block(replace(BLOCK, removed=(Key("old"),)))) == BLOCK


def test_activation_record_survives() -> None:
    block = Block(term=1, writer="w", number=1, epoch="e", first=1, ts=5, count=0)
    assert unpack_block(pack_block(block)) == block


def test_hub_hears_the_entries_only() -> None:
    assert unpack_heard(pack_block(BLOCK)) == Heard("k3f9", 7, 1795230458730, ENTRIES)


def test_hub_does_not_unpack_the_rest() -> None:
    record = unpack(pack_block(BLOCK))
    assert isinstance(record[-1], bytes)
    record[-1] = b"\xc1 is never valid"
    assert unpack_heard(pack(record)).entries == ENTRIES


def test_snapshot_and_page_survive() -> None:
    assert unpack_snapshot(b"".join(snapshot_pieces(SNAPSHOT))) == SNAPSHOT
    assert unpack_page(b"".join(page_pieces(ENTRIES))) == ENTRIES
    assert unpack_page(b"".join(page_pieces(()))) == ()


def test_what_is_known_comes_first_and_without_its_number_the_rest_without_ids() -> None:
    snapshot = replace(SNAPSHOT, known=DONE[:1], done=DONE)
    one, *rest = unpack_snapshot(b"".join(snapshot_pieces(snapshot))).done
    assert (one.n, one.session, one.user, one.id, one.seq) == (0, "a-1", "ann", "6f1c", 8)
    assert tuple(rest) == SNAPSHOT.done


@pytest.mark.parametrize("count", [15, 16, 64, 65, 200, 70_000])
def test_pieces_are_many_and_small_where_there_is_much(count: int) -> None:
    entries = tuple([Entry(seq, b"{}") for seq in range(count)])
    members = tuple([replace(ANN, session=str(number)) for number in range(count)])
    page = list(page_pieces(entries))
    assert unpack_page(b"".join(page)) == entries
    snapshot = replace(SNAPSHOT, members=members, state={str(n): n for n in range(count)})
    pieces = list(snapshot_pieces(snapshot))
    assert unpack_snapshot(b"".join(pieces)) == snapshot
    assert max(map(len, [*page, *pieces])) < 2000


@pytest.mark.parametrize("decode", [unpack_block, unpack_heard, unpack_snapshot, unpack_page])
@given(st.binary() | st.lists(st.integers(0, 3) | st.lists(st.none())).map(pack))
def test_malformed_records_raise_value_error(decode: object, data: bytes) -> None:
    assert callable(decode)
    with pytest.raises(ValueError):  # noqa: PT011 - any ValueError is the contract
        decode(data + b"\xc1")


@pytest.mark.parametrize("decode", [unpack_block, unpack_heard, unpack_snapshot, unpack_page])
@given(st.lists(st.integers(0, 3) | st.lists(st.none() | st.integers()) | st.binary()))
def test_misshapen_records_raise_value_error(decode: object, record: list[object]) -> None:
    assert callable(decode)
    with suppress(ValueError):
        decode(pack([1, *record]))


def test_records_of_another_format_are_named() -> None:
    with pytest.raises(ValueError, match="format 2"):
        unpack_block(pack([2, *unpack(pack_block(BLOCK))[1:]]))


def test_whatever_is_storable_fits_into_a_block() -> None:
    depth = 1
    while depth < 2000:
        try:
            pack(nested(depth))
        except ValueError:
            break
        depth += 1
    deepest = nested(depth - 1)
    block = Block(1, "w", 1, "e", 1, 5, 0, state={"deep": deepest})
    assert depth > 100
    assert pack(unpack_block(pack_block(block)).state["deep"]) == pack(deepest)


@pytest.mark.parametrize("value", [object(), {1, 2}, 2**64, -(2**63) - 1, "\ud800"])
def test_what_cannot_be_stored_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="Not a storable value"):
        pack({"key": value})


def test_tuples_come_back_as_lists_and_as_keys() -> None:
    assert unpack(pack({"pos": (1, 2), (3, (4,)): {(5,): "x"}})) == {
        "pos": [1, 2],
        (3, (4,)): {(5,): "x"},
    }


@given(st.binary())
def test_unpack_raises_only_value_error(data: bytes) -> None:
    try:
        value = unpack(data)
    except ValueError:
        return
    assert pack(unpack(pack(value))) == pack(value)
