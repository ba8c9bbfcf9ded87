"""A lane numbers what a room is to remember, and knows up to where everything is answered."""

from roomful_nodes.lane import Answered, Lane
from roomful_protocol.messages import Accepted, Ask, Say, Sender, Who

TELL = Say("chat.message", "hi")
MOVE = Say("cursor.move", ephemeral=True)


class Way:
    """Writes down what is asked, and answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, Answered]] = []
        self.lane = Lane("lobby", Sender("s", "ann", "Ann", "n1", "a"), self._send)

    def _send(self, lane: Lane, ask: Ask, n: int, answered: Answered) -> None:
        self.asked.append((n, lane.base, answered))

    def ask(self, *asks: Ask) -> list[tuple[int, int]]:
        """The number and the base with which each of `asks` went on its way."""
        for ask in asks:
            self.lane.ask(ask, lambda _: None)
        return [(n, base) for n, base, _ in self.asked[-len(asks) :]]

    def settle(self, *numbers: int) -> None:
        for number in numbers:
            answered = next(answered for n, _, answered in self.asked if n == number)
            self.lane.settle(number, answered, Accepted())


def test_only_what_a_room_is_to_remember_has_a_number() -> None:
    way = Way()
    assert way.ask(TELL, MOVE, Who(), TELL) == [(1, 1), (0, 1), (0, 1), (2, 1)]
    way.settle(1, 0, 2)
    assert way.ask(Who(), TELL) == [(0, 3), (3, 3)]


def test_the_base_is_the_lowest_number_without_an_answer_in_whatever_order_they_come() -> None:
    way = Way()
    way.ask(TELL, TELL, TELL, TELL, TELL)
    for number, base in ((3, 1), (2, 1), (1, 4), (5, 4), (4, 6)):
        assert not way.lane.idle
        way.settle(number)
        assert way.lane.base == base
    assert way.lane.idle
    assert way.ask(TELL) == [(6, 6)]
    assert not way.lane.idle
