"""The command line called in this process, and a server that answers it as a test says."""

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

Run = Callable[..., tuple[int, str, str]]
"""Calls `roomful` with arguments: its exit code, stdout and stderr."""


def sentence(err: str) -> str:
    """The one line on stderr; fails if there is more."""
    [line] = err.strip().splitlines()
    return line


class Answering(BaseHTTPRequestHandler):
    """Answers with `body`, or while there are `bodies`, with the next of these."""

    url: str
    status: int
    body: bytes
    bodies: list[bytes]
    seen: list[tuple[str, str | None]]
    posted: list[tuple[str, bytes]]

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["Authorization"]))
        self._answer(self.bodies.pop(0) if self.bodies else self.body)

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.posted.append((self.path, self.rfile.read(length)))
        self._answer(self.body)

    def _answer(self, body: bytes) -> None:
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
