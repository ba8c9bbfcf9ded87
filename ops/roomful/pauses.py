"""How long to wait before what has ended is started again."""


class Pauses:
    """At first `first_s`, then twice as long each time, at most `longest_s`; as at first again
    after something that has run for `steady_s`."""

    def __init__(self, first_s: float, longest_s: float, steady_s: float) -> None:
        self._first_s, self._longest_s, self._steady_s = first_s, longest_s, steady_s
        self._next_s = first_s

    def after(self, ran_s: float) -> float:
        """Seconds to wait, now that something has ended that ran for `ran_s`."""
        pause_s = self._first_s if ran_s > self._steady_s else self._next_s
        self._next_s = min(2 * pause_s, self._longest_s)
        return pause_s
