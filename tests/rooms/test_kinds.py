"""Which class serves which room."""

from roomful_rooms.kinds import Kinds
from roomful_rooms.room import ChatRoom, Room


class Poll(Room):
    pass


class Chess(Room):
    pass


def test_the_first_pattern_that_fits_wins_and_the_default_is_last() -> None:
    kinds = Kinds([("poll-*", Poll), ("*", Chess)])
    assert kinds.of("poll-1") is Poll
    assert kinds.of("Poll-1") is Chess
    assert Kinds().of("anything at all") is ChatRoom
    assert Kinds([("chess", Chess)], default=Poll).of("chess-2") is Poll
