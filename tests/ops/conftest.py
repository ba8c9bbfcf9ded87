"""Fixtures: the command line, and what it talks to."""

import sys
from collections.abc import Iterator
from http.server import HTTPServer
from threading import Thread

import pytest
from tests.support.command_line import Answering, Run

from roomful.cli import main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call `roomful` with arguments: its exit code, stdout and stderr."""

    def called(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["roomful", *args])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return called


@pytest.fixture
def answering() -> Iterator[type[Answering]]:
    """A server whose answers the test sets; its `url` is in the class."""

    class Answers(Answering):
        status, body, bodies, seen, posted = 200, b"{}", [], [], []

    server = HTTPServer(("127.0.0.1", 0), Answers)
    Answers.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Answers
    server.shutdown()
    server.server_close()
    thread.join()
