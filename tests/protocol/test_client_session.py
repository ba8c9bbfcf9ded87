"""When a client comes back, as whom, and when it does not."""

import pytest

from roomful_client.errors import RoomfulError
from roomful_client.pace import Allowance, full_jitter
from roomful_client.session import STEADY_S, Session

HELLO = {
    "session": "s1", "secret": "x", "user": "guest-1", "name": "Ann",
    "limits": {"message_bytes": 10},
}  # fmt: skip
TICKET = {"session": "s1", "secret": "x"}


def session(user: str | None = None) -> Session:
    return Session(user, "Ann", chance=lambda: 1.0)


def opened(now: float = 0) -> Session:
    it = session()
    it.opened(HELLO, now)
    return it


def test_it_says_who_it_is_and_resumes_as_that() -> None:
    it = session("ann")
    assert it.query(None) == {"name": "Ann", "user": "ann"}
    assert it.query("ey") == {"name": "Ann", "token": "ey"}
    it.opened(HELLO, 0)
    assert it.query(None) == {"name": "Ann", "user": "guest-1", **TICKET}


def test_pauses_double_up_to_a_ceiling_and_begin_anew_after_a_steady_connection() -> None:
    it = session()
    pauses = [it.ended(0, None, "refused") for _ in range(8)]
    assert pauses == [0.3, 0.6, 1.2, 2.4, 4.8, 9.6, 15.0, 15.0]
    it.opened(HELLO, 0)
    assert it.ended(STEADY_S - 1, 1006, "") == 15.0
    it.opened(HELLO, 0)
    assert it.ended(STEADY_S + 1, 1006, "") == 0.3


def test_a_drain_is_spread_as_the_node_asks() -> None:
    it = opened()
    it.bye = {"code": "drain", "reconnect": True, "delay_ms": [1000, 5000], "resume": True}
    assert it.ended(0, 1012, "") == 5.0
    assert it.query(None) | TICKET == it.query(None)


def test_a_window_said_over_http_holds_unless_the_bye_says_another() -> None:
    it = opened()
    assert it.ended(0, None, "HTTP 503", (2000, 2500)) == 2.5
    it.bye = {"code": "drain", "reconnect": True, "delay_ms": [0, 100], "resume": True}
    assert it.ended(0, 1012, "", (2000, 2500)) == 0.1


def test_a_session_that_shall_not_be_resumed_is_not() -> None:
    it = opened()
    it.bye = {"code": "too_slow", "reconnect": True, "delay_ms": [0, 0], "resume": False}
    assert it.ended(0, 4001, "") == 0.3
    assert "session" not in it.query(None)


def test_a_session_that_is_not_believed_is_given_up_once() -> None:
    it = opened()
    it.ended(0, 1006, "")
    assert isinstance(it.ended(0, 4500, ""), float)
    assert "session" not in it.query(None)
    assert isinstance(it.ended(0, 4500, ""), RoomfulError)


@pytest.mark.parametrize(
    ("code", "slug"),
    [(4500, "unauthorized"), (4501, "kicked"), (4502, "taken_over"), (4999, "refused")],
)
def test_some_closes_are_for_good(code: int, slug: str) -> None:
    verdict = opened().ended(0, code, "Because.")
    assert isinstance(verdict, RoomfulError)
    assert (verdict.code, verdict.message) == (slug, "Because.")


def test_a_bye_can_be_for_good() -> None:
    it = opened()
    it.bye = {"code": "clean", "message": "Goodbye.", "reconnect": False}
    verdict = it.ended(0, 1000, "")
    assert isinstance(verdict, RoomfulError)
    assert str(verdict) == "Goodbye. (clean)"


@pytest.mark.parametrize("code", [None, 1000, 1006, 1009, 1012, 1013, 4000, 4001, 4002])
def test_all_others_are_not(code: int | None) -> None:
    assert isinstance(opened().ended(0, code, ""), float)


def test_the_ceiling_of_a_pause_never_overflows() -> None:
    assert full_jitter(10_000, 0.3, 15.0, lambda: 0.5) == 7.5


def test_an_allowance_says_when_there_is_more() -> None:
    allowance = Allowance(10, 2, now=0)
    assert allowance.take(0)
    assert not allowance.take(0)
    at = allowance.next_at(0)
    assert not allowance.take(at - 0.01)
    assert allowance.take(at + 0.01)
