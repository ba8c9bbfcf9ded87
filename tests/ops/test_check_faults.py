"""What a seed decides, and what the logs of nodes give away."""

from itertools import islice
from pathlib import Path

import pytest

from roomful.check.faults import FAULTS, steps
from roomful.check.nodelogs import DEATHS, complaints


def test_a_seed_decides_what_happens() -> None:
    one, same, other = (list(islice(steps(seed, frozenset(FAULTS)), 50)) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_every_kind_has_its_turn() -> None:
    kinds = [step.kind for step in islice(steps(3, frozenset(FAULTS)), 3 * len(FAULTS))]
    assert {kind: kinds.count(kind) for kind in FAULTS} == dict.fromkeys(FAULTS, 3)
    assert {step.kind for step in islice(steps(3, frozenset({"kill", "cut"})), 20)} == {
        "kill",
        "cut",
    }
    assert list(steps(3, frozenset())) == []


FAILED = (
    '{"level": "error", "event": "room.handler_failed", "ask": "%s", "exception": "a\\nb\\nX: y"}'
)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"level": "warning", "event": "node.lost"}', None),
        ('{"level": "error", "event": "embedded.died", "code": -9}', "embedded.died"),
        (FAILED % "check.fail", None),
        (FAILED % "chat.message", "X: y"),
        ('{"level": "error", "event": "task.failed", "task": "t"}', "task.failed"),
        ("Traceback (most recent call last):", "Traceback"),
        ("[1, 2]", "[1, 2]"),
    ],
)
def test_what_in_a_log_means_a_bug(tmp_path: Path, line: str, said: str | None) -> None:
    file = tmp_path / "n1x1.log"
    file.write_text(f'{{"level": "info", "event": "node.started"}}\n{line}\n')
    found = [one.sentence for one in complaints(file)]
    if said is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith("n1x1.log:2: ")
        assert said in found[0]


def test_a_broker_dies_only_where_it_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "check.log"
    file.write_text('{"level": "error", "event": "embedded.died", "code": -9}\n')
    assert list(complaints(file, DEATHS)) == []
    assert [one.rule for one in complaints(file)] == ["logs"]
