"""The joins of one client to one room that wait for an answer, as the client counts them."""

from dataclasses import dataclass


@dataclass(slots=True)
class Joins:
    """`due` wait for an answer; the oldest `void` of these were asked before a leave, after whose
    answer they get none any more. `wanted`: no leave was asked for since the last of them; its own
    answer may come after the one to a join.
    """

    due: int = 0
    void: int = 0
    wanted: bool = False

    def ask(self) -> None:
        self.due, self.wanted = self.due + 1, True

    def leave(self) -> None:
        self.void, self.wanted = self.due, False

    def left(self, *, asked: bool) -> None:
        if asked:
            self.due, self.void = self.due - self.void, 0
        else:
            self.wanted = False

    def lose(self) -> None:
        """The connection has ended: nothing will be answered."""
        self.due = self.void = 0

    def answer(self) -> bool:
        """The oldest one was answered: answers keep their order. Whether no leave came after it."""
        holds = not self.void
        self.due, self.void = self.due - 1, max(0, self.void - 1)
        return holds
