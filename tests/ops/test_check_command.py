"""`roomful check` as it is called: what it refuses, and what it says."""

from collections.abc import Iterator

import pytest
import structlog
from typer.testing import CliRunner

from roomful.cli import app
from roomful.failure import Failure


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A check logs to a file of its own, which is closed afterwards."""
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--faults", "earthquake"], "--faults earthquake is not known"),
        (["--url", "http://127.0.0.1:1", "--faults", "kill"], "kill needs a cluster of its own"),
        (["--url", "ws://127.0.0.1:1"], "must begin with http:// or https://"),
    ],
)
def test_what_cannot_be_done(args: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["check", *args])
    assert isinstance(result.exception, Failure)
    assert said in str(result.exception)


@pytest.mark.parametrize("args", [["--minutes", "0"], ["--nodes", "0"], ["--seed", "x"]])
def test_what_is_called_in_a_wrong_way(args: list[str]) -> None:
    assert CliRunner().invoke(app, ["check", *args]).exit_code == 2


def test_without_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roomful.check.scribe.ATTEMPTS", 1)
    result = CliRunner().invoke(app, ["check", "--url", "http://127.0.0.1:1", "--seed", "7"])
    assert "seed 7" in result.stderr
    assert isinstance(result.exception, Failure)
    assert "No node answers at http://127.0.0.1:1" in str(result.exception)
