"""What `roomful check` says in the end, to people and to machines."""

import json
from pathlib import Path

import pytest
from tests.support.check_story import Story

from roomful.check import report
from roomful.check.history import Sent, Trouble
from roomful.check.trial import Result

AGAIN = ["roomful", "check", "--seed", "7"]


def result(story: Story, *untried: str) -> Result:
    return Result(story.verdict(), [], [story.logged], story.troubles, untried)


def test_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    report.verdict(result(Story()), None, AGAIN, as_json=False)
    told = capsys.readouterr().out
    assert "No violation: every promise was kept." in told
    assert "no time" not in told
    assert told.endswith("Once more: roomful check --seed 7\n")


def test_what_was_not_tried_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    report.verdict(result(Story(), "cut", "kill"), None, AGAIN, as_json=False)
    assert "There was no time for: cut, kill.\n" in capsys.readouterr().out
    report.verdict(result(Story(), "cut", "kill"), None, AGAIN, as_json=True)
    assert json.loads(capsys.readouterr().out)["untried"] == ["cut", "kill"]


def test_every_trouble_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    story = Story()
    story.troubles = [Trouble("kill", "n1", 2, 6), Trouble("cut", "n1", 50, 52)]
    report.verdict(result(story), None, AGAIN, as_json=False)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["cut", "1", "2.0", "s", "-"] in rows, "nobody waited meanwhile"
    assert ["kill", "1", "4.0", "s", "1.00", "s", "(ann", "in", "lobby)"] in rows


def test_what_is_broken_is_told_with_its_evidence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = Story()
    story.ann.append(Sent("lobby", "k2", 5))
    found = result(story)
    report.keep(found, tmp_path)
    report.verdict(found, tmp_path, AGAIN, as_json=False)
    told = capsys.readouterr().out
    assert "1 violation:\n  answered: lobby: what ann said as k2 was never answered.\n" in told
    assert f"The evidence is in {tmp_path}\n" in told
    assert "chat.message" in (tmp_path / "rooms" / "lobby.txt").read_text()
