"""The newest entries that a hub keeps."""

from roomful_nodes.ring import KEPT, KEPT_BYTES, Ring
from roomful_protocol.blocks import Entry


def ring(first: int, last: int, size: int = 2) -> Ring:
    made = Ring()
    made.extend([Entry(seq, b"x" * size) for seq in range(first, last + 1)])
    return made


def test_what_follows_a_seq_is_given_in_order() -> None:
    found = ring(3, 8).after(5, 8)
    assert found is not None
    assert [entry.seq for entry in found] == [6, 7, 8]
    assert ring(3, 8).after(8, 8) == []


def test_what_has_gone_is_admitted() -> None:
    assert ring(3, 8).after(2, 8) is not None
    assert ring(3, 8).after(1, 8) is None


def test_the_oldest_go_when_there_are_too_many() -> None:
    full = ring(1, KEPT + 10)
    assert len(full) == KEPT
    assert full.after(9, KEPT + 10) is None
    assert full.after(10, KEPT + 10) is not None


def test_the_oldest_go_when_they_take_too_much_memory() -> None:
    full = ring(1, 20, size=KEPT_BYTES // 10)
    assert len(full) <= 10
    assert full.after(19, 20) is not None
