"""What a session asks a room, in order: also when it leaves and joins again over another lane."""

from collections import deque
from collections.abc import Callable

from roomful_protocol.ids import RoomName
from roomful_protocol.messages import Answer, Ask, Read, Say, Sender, Who

Answered = Callable[[Answer], None]
Send = Callable[["Lane", Ask, int, Answered], None]


class Lane:
    """The questions of one attachment of a session to one room: numbered, and in order.

    `send` takes them on their way, each with its number; it ends with `settle`. `base` is the
    lowest number without an answer.
    """

    __slots__ = ("_early", "_following", "_last", "_send", "_waiting", "base", "room", "sender")

    def __init__(self, room: RoomName, sender: Sender, send: Send) -> None:
        self.room = room
        self.sender = sender
        self._send = send
        self._last, self.base = 0, 1
        # Answered before those that were asked earlier, which is rare.
        self._early: set[int] | None = None
        self._following: Lane | None = None
        # What waits for the lane before this one; None if that is out of the way.
        self._waiting: deque[tuple[Ask, int, Answered]] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is asked that the room is to remember."""
        return self.base > self._last and self._waiting is None

    def then(self, sender: Sender) -> "Lane":
        """The lane of a later attachment of the session, asked once instead of a fresh one: what is
        asked over it waits until all is answered that was asked over this one. Each lane is asked
        again on its own: a join could overtake the leave before it."""
        following = Lane(self.room, sender, self._send)
        if not self.idle:
            self._following, following._waiting = following, deque()
        return following

    def ask(self, ask: Ask, answered: Answered) -> None:
        """Ask the room; `answered` is called exactly once, now or later, and never with Moved.

        Whatever the room is to remember is numbered; readings and ephemeral messages are not.
        """
        n = 0
        if not (ask.ephemeral if isinstance(ask, Say) else isinstance(ask, (Read, Who))):
            n = self._last = self._last + 1
        if self._waiting is None:
            self._send(self, ask, n, answered)
        else:
            self._waiting.append((ask, n, answered))

    def settle(self, n: int, answered: Answered, answer: Answer) -> None:
        """Pass on the answer to question `n`."""
        if n == self.base:
            self.base = n + 1
            if self._early:
                self._pass_over(self._early)
        elif n:
            early = self._early = self._early or set()
            early.add(n)
        try:
            answered(answer)
        finally:
            if self._following is not None:
                self._let_on()

    def _pass_over(self, early: set[int]) -> None:
        """Let `base` pass what was answered before its turn."""
        while self.base in early:
            early.remove(self.base)
            self.base += 1

    def _let_on(self) -> None:
        """Let as many lanes after this one begin as have nothing to wait for."""
        lane: Lane | None = self
        while lane is not None:
            lane = lane.make_way()

    def make_way(self) -> "Lane | None":
        """Let the lane after this one begin, if it is its turn; that lane."""
        if self._following is None or not self.idle:
            return None
        following, self._following = self._following, None
        following.begin()
        return following

    def begin(self) -> None:
        """Ask what has waited for the lane before this one."""
        # Answers may come at once, and lead to more questions: those come after these.
        while self._waiting:
            self._send(self, *self._waiting.popleft())
        self._waiting = None
