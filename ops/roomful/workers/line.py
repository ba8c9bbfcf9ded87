"""The line between a supervisor and one worker: a pair of sockets, and what is said over them.

The supervisor sends one order, and nothing after it; its end of the line closes with it. The worker
says when it takes clients, that it lives, and why it ends.
"""

import os
import signal
import socket
import time
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from json import dumps, loads
from pathlib import Path
from threading import Thread
from typing import Final

import structlog

from roomful.config import Config

READY: Final = b"ready"
ALIVE: Final = b"alive"
FAILED: Final = b"failed "
ALIVE_S: Final = 1.0
"""A worker says so often that it lives."""
LONGEST: Final = 4000
"""So many characters are told of why a worker ends: in JSON less than the 64 KiB of a line."""
ORPHANED_S: Final = 30.0
"""A worker that has lost its supervisor may take so long to end."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Order:
    """What a worker is to be: its settings, and the folder where it meets its siblings."""

    config: Config
    siblings: Path

    def packed(self) -> bytes:
        """One line."""
        return dumps([self.config.packed(), str(self.siblings)]).encode() + b"\n"

    @classmethod
    def unpacked(cls, line: bytes) -> "Order":
        config, siblings = loads(line)
        return cls(Config.unpacked(config), Path(siblings))


def failure_in(said: bytes) -> str | None:
    """The sentence, if what a worker said is why it ends, and was heard to the end."""
    if not said.startswith(FAILED):
        return None
    try:
        return str(loads(said[len(FAILED) :]))
    except ValueError:
        return None


class Line:
    """The worker's end, of which `fd` is the socket."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self.cut = False

    def order(self) -> Order | None:
        """Wait for it; None if the supervisor is gone before it has given one."""
        with suppress(OSError), self._socket.makefile("rb") as file:
            line = file.readline()
            return Order.unpacked(line) if line.endswith(b"\n") else None
        return None

    def say(self, word: bytes) -> None:
        """Nothing is said to a supervisor that is gone, or does not listen."""
        with suppress(OSError):
            self._socket.send(word + b"\n", socket.MSG_DONTWAIT)

    def fail(self, sentence: str) -> None:
        """Tell why this worker ends, in so many words as the other end takes for one line."""
        self.say(FAILED + dumps(sentence[:LONGEST]).encode())

    def watch(self) -> None:
        """From now on end this process when the supervisor's is gone: in a hurry, as the embedded
        broker went with it, and whoever starts a new supervisor needs the port."""
        # A thread, for a worker whose loop is blocked has to end, too.
        Thread(target=copy_context().run, args=(self._follow,), name="line", daemon=True).start()

    def _follow(self) -> None:
        with suppress(OSError):
            while self._socket.recv(1):
                pass
        self.cut = True
        log.error("worker.orphaned")
        # Two signals, as one that waits is not counted twice: the first to end, then to hurry.
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(ORPHANED_S)
        os._exit(1)
