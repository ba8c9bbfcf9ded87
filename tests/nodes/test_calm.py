"""When it is calm enough to move rooms only to even things out."""

from roomful_nodes.calm import CALM_S, MEMORY_S, Calm


def wait(calm: Calm, at: float) -> float:
    """For how long from `at` it is not calm."""
    return next(passed / 10 for passed in range(10_000) if calm.holds(at + passed / 10))


def flap(calm: Calm, times: int, start: float = 0.0) -> float:
    """A node comes and vanishes so often, one second each; when that is over."""
    for number in range(times):
        calm.look({"a", "b"}, {"a", "b"}, start + 2 * number)
        calm.look({"a"}, {"a"}, start + 2 * number + 1)
    return start + 2 * times - 1


def test_who_comes_is_watched_for_a_while() -> None:
    calm = Calm()
    calm.look({"a"}, {"a"}, 0)
    calm.look({"a", "b"}, {"a", "b"}, 100)
    assert wait(calm, 100) == CALM_S[0]
    # What else changes in the cluster does not begin it anew.
    calm.look({"a", "b"}, {"a", "b"}, 102)
    assert wait(calm, 100) == CALM_S[0]


def test_a_deploy_is_no_flapping() -> None:
    calm = Calm()
    for number in range(20):
        calm.look({"a", "b"}, {"a", "b"}, 10 * number)
        calm.look({"a"}, {"a", "b"}, 10 * number + 5)
        calm.look({"a"}, {"a"}, 10 * number + 6)
    assert wait(calm, 195) == CALM_S[0]


def test_nodes_that_vanish_again_and_again_make_it_wait_longer_and_longer() -> None:
    waits = []
    for times in (1, 2, 3, 4, 10):
        calm = Calm()
        waits.append(wait(calm, flap(calm, times)))
    assert waits == [3, 6, 12, 24, CALM_S[1]]


def test_what_vanished_long_ago_is_forgotten() -> None:
    calm = Calm()
    end = flap(calm, 10)
    calm.look({"a", "c"}, {"a", "c"}, end + MEMORY_S + 1)
    assert wait(calm, end + MEMORY_S + 1) == CALM_S[0]
