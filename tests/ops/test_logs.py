"""What a line of the log looks like, and what of the libraries' own logging gets there."""

import asyncio
import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog
from aiohttp.http_exceptions import BadHttpMessage

from roomful.logs import Format, configure


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_json_away_from_a_terminal() -> None:
    out = io.StringIO()
    configure("auto", "info", node="n1", stream=out).info("room.claimed", room="löbby", term=3)
    [line] = lines(out)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {
        "level": "info",
        "event": "room.claimed",
        "node": "n1",
        "room": "löbby",
        "term": 3,
    }


async def test_tasks_and_loggers_made_earlier_bear_the_node() -> None:
    out = io.StringIO()
    made_at_import = structlog.get_logger()
    configure("json", "info", node="n1", stream=out)

    async def later() -> None:
        made_at_import.info("room.claimed")

    await asyncio.create_task(later())
    assert lines(out)[0]["node"] == "n1"


@pytest.mark.parametrize(
    ("format", "out", "coloured"),
    [("auto", Terminal(), True), ("console", Terminal(), True), ("console", io.StringIO(), False)],
)
def test_for_people(format: Format, out: io.StringIO, coloured: bool) -> None:
    configure(format, "info", node="n1", stream=out).info("room.claimed", room="lobby")
    assert "room.claimed" in out.getvalue()
    assert ("\x1b[" in out.getvalue()) is coloured


def test_the_level_is_a_floor() -> None:
    out = io.StringIO()
    log = configure("json", "warning", node="n1", stream=out)
    log.info("room.claimed")
    log.warning("room.fenced")
    assert [line["event"] for line in lines(out)] == ["room.fenced"]


def test_a_traceback_is_text_without_local_values() -> None:
    out = io.StringIO()
    log = configure("json", "info", node="n1", stream=out)
    password = "hunter2"
    try:
        raise ValueError(len(password))
    except ValueError:
        log.exception("room.crashed")
    [line] = lines(out)
    assert "ValueError: 7" in str(line["exception"])
    assert "hunter2" not in out.getvalue()


def test_values_that_json_does_not_know_are_shown() -> None:
    out = io.StringIO()
    configure("json", "info", node="n1", stream=out).info("room.claimed", of={1})
    assert lines(out)[0]["of"] == "{1}"


def test_libraries_speak_in_one_event() -> None:
    out = io.StringIO()
    configure("json", "info", node="n1", stream=out)
    logging.getLogger("aiohttp.server").error("bad %s", "request")
    logging.getLogger("aiohttp.server").info("chatter")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    said = [(line["event"], line["level"], line["library"]) for line in lines(out)]
    assert said == [
        ("library.message", "error", "aiohttp.server"),
        ("library.message", "warning", "py.warnings"),
    ]
    assert lines(out)[0]["message"] == "bad request"


def test_strangers_do_not_fill_the_log() -> None:
    out = io.StringIO()
    configure("json", "info", node="n1", stream=out)
    for raised in (BadHttpMessage("no"), RuntimeError("ours")):
        logging.getLogger("aiohttp.server").error("no", exc_info=raised)
    [line] = lines(out)
    assert "ours" in str(line["exception"])


def test_a_library_that_cannot_format_harms_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    configure("json", "info", node="n1", stream=out)
    wants_two = "%s %s"
    logging.getLogger("x").error(wants_two, "one")
    assert out.getvalue() == ""
    assert "not enough arguments" in capsys.readouterr().err
