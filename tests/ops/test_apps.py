"""What `--app` may name, and what it says when it cannot be had."""

import sys
from pathlib import Path

import pytest

from roomful.apps import load_app
from roomful.failure import Failure

ROOMS = """
from roomful import Room

class Poll(Room):
    rooms = "poll-*"

class Quiz(Room):
    pass

both = [Poll, Quiz]
named = {"q-*": Quiz, "p-*": Poll}
wrong = {1: Poll}
empty = []
number = 7

class Inside:
    Poll = Poll
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with an author's module; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "authored.py").write_text(ROOMS)
    return tmp_path


@pytest.mark.parametrize(
    ("spec", "kinds"),
    [
        ("authored:Poll", [("poll-*", "Poll")]),
        ("authored:Quiz", [("*", "Quiz")]),
        ("authored:both", [("poll-*", "Poll"), ("*", "Quiz")]),
        ("authored:named", [("q-*", "Quiz"), ("p-*", "Poll")]),
        ("authored:Inside.Poll", [("poll-*", "Poll")]),
    ],
)
def test_what_can_be_named(spec: str, kinds: list[tuple[str, str]]) -> None:
    assert [(pattern, kind.__name__) for pattern, kind in load_app(spec)] == kinds


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("authored", "must be module:object"),
        (":Poll", "must be module:object"),
        ("authored:", "must be module:object"),
        ("missing:Poll", "There is no module missing in "),
        ("missing.deeper:Poll", "There is no module missing in "),
        ("authored:Pol", "The module authored has no Pol"),
        ("authored:number", "7 is no Room class"),
        ("authored:wrong", "1 is no pattern"),
        ("authored:empty", "names no rooms"),
        ("authored:Inside", "is no Room class"),
    ],
)
def test_what_cannot(spec: str, said: str) -> None:
    with pytest.raises(Failure, match=said):
        load_app(spec)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nowhere_to_be_found", "line 1: ModuleNotFoundError: No module named 'nowhere_"),
        ("\nvalue = 1 / 0", "line 2: ZeroDivisionError"),
        ("x = (", "line 1: SyntaxError"),
        ("def f():\n    raise ValueError('no')\nf()", r"broken.py, line 2: ValueError: no"),
    ],
)
def test_the_line_that_fails_is_named(project: Path, text: str, said: str) -> None:
    (project / "broken.py").write_text(text)
    with pytest.raises(Failure, match=said):
        load_app("broken:Room")
