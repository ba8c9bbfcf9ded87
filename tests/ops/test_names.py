"""Names that nobody can guess."""

from itertools import islice

from roomful.names import AT_ONCE, names


def test_no_name_comes_twice_and_none_is_cut_short() -> None:
    found = list(islice(names(), 3 * AT_ONCE))
    assert len(set(found)) == len(found)
    assert {len(name) for name in found} == {20}
    assert set("".join(found)) == set("0123456789abcdef")


def test_no_two_sources_give_the_same() -> None:
    assert not set(islice(names(), AT_ONCE)) & set(islice(names(), AT_ONCE))
