"""A room's mapping: drafts, transactions, and the same values after a restart."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomful_protocol.codecs.values import pack, unpack
from roomful_rooms.state import State

keys = st.sampled_from("abcd")
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=3)
    | st.binary(max_size=3)
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


def commit(state: State) -> tuple[dict[str, Any], tuple[str, ...]]:
    changed, removed = state.changes()
    state.take(changed, removed)
    return changed, removed


def test_a_draft_is_seen_by_its_handler_and_gone_when_dropped() -> None:
    state = State({"a": 1})
    state["a"] = 2
    state["b"] = 3
    assert dict(state) == {"a": 2, "b": 3}
    state.drop()
    assert dict(state) == {"a": 1}
    assert state.changes() == ({}, ())


def test_a_nested_value_may_be_changed_in_place() -> None:
    state = State({"votes": {"tea": [1]}})
    state["votes"]["tea"].append(2)
    assert state["votes"] == {"tea": [1, 2]}
    assert commit(state) == ({"votes": {"tea": [1, 2]}}, ())
    assert state.values_now() == {"votes": {"tea": [1, 2]}}


def test_a_nested_change_is_undone_as_well() -> None:
    state = State({"votes": {"tea": [1]}})
    state["votes"]["tea"].append(2)
    state.drop()
    assert state["votes"] == {"tea": [1]}


def test_what_is_only_read_is_no_change() -> None:
    state = State({"list": [1], "map": {"x": 1}})
    assert state["list"] == [1]
    assert dict(state) == {"list": [1], "map": {"x": 1}}
    state["list"] = [1]
    assert state.changes() == ({}, ())


def test_what_an_author_keeps_in_hand_does_not_reach_the_committed_value() -> None:
    state = State()
    mine = [1]
    state["list"] = mine
    mine.append(2)
    assert commit(state) == ({"list": [1, 2]}, ())
    mine.append(3)
    assert state["list"] == [1, 2]
    assert state.changes() == ({}, ())


def test_a_tuple_is_a_list_at_once_as_after_a_restart() -> None:
    state = State()
    state["pair"] = (1, (2, 3))
    changed, _ = commit(state)
    assert changed == {"pair": [1, [2, 3]]}
    assert state["pair"] == [1, [2, 3]]


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, 2**64, -(2**63) - 1, "\ud800", {"x": object()}, [lambda: None]]
)
def test_what_cannot_be_stored_is_named_and_nothing_is_taken(value: object) -> None:
    state = State({"a": 1})
    state["good"] = 1
    state["bad"] = value
    with pytest.raises(TypeError, match="'bad'"):
        state.changes()
    state.drop()
    assert dict(state) == {"a": 1}


def test_only_strings_are_keys() -> None:
    state = State()
    with pytest.raises(TypeError, match="int"):
        state[1] = "one"  # type: ignore[index]
    assert len(state) == 0


def test_removal() -> None:
    state = State({"a": 1, "b": 2})
    del state["a"]
    with pytest.raises(KeyError):
        state["a"]
    with pytest.raises(KeyError):
        del state["a"]
    assert list(state) == ["b"]
    assert len(state) == 1
    assert commit(state) == ({}, ("a",))
    assert dict(state) == {"b": 2}


def test_what_is_set_and_removed_in_one_handler_never_was() -> None:
    state = State()
    state["a"] = 1
    del state["a"]
    assert "a" not in state
    assert state.changes() == ({}, ())


def test_true_is_not_one_and_one_is_not_a_float() -> None:
    state = State({"flag": 1})
    state["flag"] = True
    assert commit(state) == ({"flag": True}, ())
    state["flag"] = 1.0
    changed, _ = commit(state)
    assert type(changed["flag"]) is float


def test_all_that_mappings_can_do() -> None:
    state = State({"a": 1, "n": [1]})
    assert state.get("x", 7) == 7
    assert state.pop("a") == 1
    state.setdefault("list", []).append(5)
    state.update(b=2)
    assert state == {"n": [1], "list": [5], "b": 2}
    state.clear()
    assert commit(state) == ({}, ("a", "n"))


@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(keys, st.none() | values.map(lambda v: [v])), max_size=4),
            st.booleans(),
        ),
        max_size=8,
    )
)
def test_commits_and_rollbacks_agree_with_a_dict_and_with_recovery(
    handlers: list[tuple[list[tuple[str, list[Any] | None]], bool]],
) -> None:
    """Each handler sets (boxed) or removes keys, and then succeeds or fails."""
    state, recovered, model = State(), State(), dict[str, Any]()
    for writes, succeeds in handlers:
        draft = dict(model)
        for key, boxed in writes:
            if boxed is None:
                draft.pop(key, None)
                state.pop(key, None)
            else:
                draft[key] = boxed[0]
                state[key] = boxed[0]
            assert set(state) == set(draft)
        if succeeds:
            changed, removed = commit(state)
            stored = {key: unpack(pack(value)) for key, value in changed.items()}
            recovered.take(stored, removed)
            model = draft
        else:
            state.drop()
        # By bytes: NaN is not equal to itself, and True is equal to 1.
        packed = {key: pack(value) for key, value in model.items()}
        assert {key: pack(value) for key, value in state.items()} == packed
        assert {key: pack(value) for key, value in recovered.items()} == packed
        state.drop()
