"""The order of blocks as a hub hears them."""

from hypothesis import given
from hypothesis import strategies as st

from roomful_nodes.chain import AHEAD, Chain
from roomful_protocol.blocks import Entry, Heard


def block(first: int, count: int = 1) -> Heard:
    entries = tuple(Entry(seq, b"{}") for seq in range(first, first + count))
    return Heard("e", first, 0, entries)


def begun(head: int = 0) -> Chain:
    chain = Chain()
    chain.begin("e", head)
    return chain


def seqs(entries: object) -> list[int]:
    assert isinstance(entries, list | tuple)
    return [entry.seq for entry in entries]


def test_blocks_in_order_pass_at_once() -> None:
    chain = begun(4)
    assert seqs(chain.hear(block(5, 2))) == [5, 6]
    assert seqs(chain.hear(block(7))) == [7]
    assert not chain.behind


def test_a_block_heard_twice_is_ignored() -> None:
    chain = begun()
    chain.hear(block(1, 3))
    assert seqs(chain.hear(block(1, 3))) == []
    assert seqs(chain.hear(block(2, 1))) == []


def test_only_what_comes_just_next_is_heard_as_such() -> None:
    chain = begun()
    assert seqs(chain.hear_next(block(1, 2))) == [1, 2]
    assert seqs(chain.hear_next(block(3, 0))) == []
    for other in (block(2), block(4), Heard("e2", 3, 0, block(3).entries)):
        assert chain.hear_next(other) is None
    chain.hear(block(4))
    assert chain.hear_next(block(3)) is None, "though it would fill the hole: that is being read"
    assert (chain.head, chain.expected) == (2, 4)


def test_what_comes_after_a_hole_waits_until_it_is_filled() -> None:
    chain = begun()
    assert seqs(chain.hear(block(3, 2))) == []
    assert chain.broken
    assert seqs(chain.hear(block(5))) == []
    assert seqs(chain.fill(block(1, 2).entries)) == [1, 2, 3, 4, 5]
    assert not chain.behind


def test_a_block_without_entries_can_show_a_hole_too() -> None:
    chain = begun()
    chain.hear(block(1))
    assert seqs(chain.hear(block(2, 0))) == []
    assert not chain.behind
    chain.hear(block(4, 0))
    assert chain.broken
    assert chain.expected == 3


def test_what_is_expected_but_not_announced_is_no_break() -> None:
    chain = begun()
    chain.expect(3)
    assert chain.behind
    assert not chain.broken


def test_too_much_behind_a_hole_is_forgotten_but_stays_expected() -> None:
    chain = begun()
    for first in range(2, AHEAD + 3):
        chain.hear(block(first))
    assert not chain.broken
    assert chain.expected == AHEAD + 2
    assert seqs(chain.fill(block(1, 5).entries)) == [1, 2, 3, 4, 5]
    assert chain.behind


def test_skipping_takes_up_what_waited() -> None:
    chain = begun()
    chain.hear(block(5, 2))
    chain.skip(4)
    assert seqs(chain.fill(())) == [5, 6]


@given(st.lists(st.integers(0, 4), max_size=20), st.data())
def test_whatever_is_lost_and_repeated_all_entries_come_once_and_in_order(
    sizes: list[int], data: st.DataObject
) -> None:
    blocks, first = [], 1
    for size in sizes:
        blocks.append(block(first, size))
        first += size
    everything = [entry for one in blocks for entry in one.entries]
    chain, passed = begun(), []
    for one in blocks:
        for _ in range(data.draw(st.integers(0, 2), label="announced")):
            passed += seqs(chain.hear(one))
        if chain.behind and data.draw(st.booleans(), label="repaired"):
            passed += seqs(chain.fill(everything[chain.head : chain.head + 3]))
    while chain.behind:
        passed += seqs(chain.fill(everything[chain.head :]))
    assert passed == list(range(1, chain.head + 1))
