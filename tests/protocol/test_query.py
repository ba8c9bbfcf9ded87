"""The query of a connection: what it asks for, and what is wrong with it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful_protocol.errors import Code, Refused
from roomful_protocol.frames import NEW, Since
from roomful_protocol.query import Query, parse_query

Pairs = list[tuple[str, str]]


@pytest.mark.parametrize(
    ("pairs", "query"),
    [
        ([], Query()),
        ([("room", "lobby")], Query(rooms=("lobby",), since=NEW)),
        ([("room", "b"), ("room", "a"), ("room", "b")], Query(rooms=("b", "a"))),
        ([("name", "Ann"), ("user", "ann")], Query(name="Ann", user="ann")),
        ([("token", "ey.x.y"), ("utm_source", "x")], Query(token="ey.x.y")),
        ([("name", ""), ("token", ""), ("since", "")], Query()),
        ([("utm", "1"), ("utm", "2")], Query()),
        ([("session", "n1-x"), ("secret", "s")], Query(session="n1-x", secret="s")),
        (
            [("room", "lobby"), ("since", "42"), ("epoch", "k3f9")],
            Query(rooms=("lobby",), since=Since(after=42), epoch="k3f9"),
        ),
        ([("room", "x"), ("since", "last:50")], Query(rooms=("x",), since=Since(last=50))),
        ([("room", "x"), ("since", "new")], Query(rooms=("x",))),
        ([("room", "> *.🦊 ")], Query(rooms=("> *.🦊 ",))),
    ],
)
def test_what_is_asked_for(pairs: Pairs, query: Query) -> None:
    assert parse_query(pairs) == query


@pytest.mark.parametrize(
    ("pairs", "names"),
    [
        ([("room", "")], "room"),
        ([("room", "x" * 129)], "room"),
        ([("room", "\ud800")], "room"),
        ([("name", "x" * 129)], "name"),
        ([("user", "\udcff")], "name"),
        ([("name", "a"), ("name", "b")], "name"),
        ([("since", "42")], "since"),
        ([("room", "a"), ("room", "b"), ("since", "42")], "since"),
        ([("room", "a"), ("room", "b"), ("epoch", "k")], "epoch"),
        ([("room", "a"), ("since", "-1")], "since"),
        ([("room", "a"), ("since", "soon")], "since"),
        ([("room", "a"), ("since", "1" * 30)], "since"),
        ([("room", "a"), ("since", "٣")], "since"),
        ([("room", "a"), ("epoch", "k" * 65)], "epoch"),
        ([("session", "s")], "secret"),
        ([("secret", "s")], "session"),
        ([("token", "\udcff")], "token must be valid Unicode"),
        ([("session", "\udcff"), ("secret", "s")], "session must be valid Unicode"),
        ([("session", "s"), ("secret", "ann.1.\udcff")], "secret must be valid Unicode"),
        ([("room", "a"), ("epoch", "\udcff")], "epoch must be valid Unicode"),
    ],
)
def test_what_is_wrong_is_named(pairs: Pairs, names: str) -> None:
    with pytest.raises(Refused, match=names) as caught:
        parse_query(pairs)
    assert caught.value.code is Code.BAD_DATA


def test_secrets_are_not_shown() -> None:
    query = parse_query([("token", "hush"), ("session", "s"), ("secret", "hush")])
    assert "hush" not in repr(query)


_keys = st.sampled_from(["room", "name", "user", "token", "since", "epoch", "session", "secret"])
_values = st.text() | st.sampled_from(["new", "last:3", "7"])


@given(st.lists(st.tuples(_keys | st.text(), _values)))
def test_any_query(pairs: Pairs) -> None:
    try:
        query = parse_query(pairs)
    except Refused:
        return
    assert set(query.rooms) == {value for key, value in pairs if key == "room"}
