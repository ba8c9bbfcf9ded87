"""Clients that write as much as the server takes, and wait for nothing but the end."""

import socket
import time
from collections.abc import Sequence
from typing import Final

from roomful.bench import said
from roomful.bench.crowd import Crowd, Line, Room
from roomful.bench.flood import WARM_S, Flow
from roomful.bench.processes import Window
from roomful.bench.said import Frames
from roomful.bench.wire import Broken

AT_ONCE: Final = 256
"""Messages handed to the kernel in one piece."""
BUFFER: Final = 1 << 16
LAST_S: Final = 20.0
"""So long all that the kernel still holds may take."""
_ERROR: Final = b'"type":"error"'


class Hose:
    """Lines, each in a room of its own, that say the same again and again."""

    def __init__(self, crowd: Crowd, lines: Sequence[Line], frames: Frames) -> None:
        self._crowd, self._lines = crowd, lines
        self._piece, self._size = memoryview(frames(AT_ONCE)), len(frames(1))
        self._left = dict.fromkeys(lines, self._piece)
        self._rooms = [Room([line], _ERROR) for line in lines]
        for room in self._rooms:
            room.ear.record = bytearray()  # only errors would come
        for line in lines:
            # Little of this end's own: what waits for the server is not counted as taken for long.
            line.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self._taken = 0
        self._waited_s = 0.0

    def run(self, seconds: float, servers: Sequence[int]) -> Flow:
        """Messages that were taken, in a window in which every buffer between was full.

        Raises Broken if the server answers any of them, which can only be an error.
        """
        self._pour(WARM_S)
        taken, waited = self._taken, self._waited_s
        with Window(servers) as window:
            self._pour(seconds)
        messages = (self._taken - taken) / self._size / window.seconds
        busy = 1 - (self._waited_s - waited) / window.seconds
        self._finish()
        return Flow(messages, 0.0, window, busy)

    def _pour(self, seconds: float) -> None:
        deadline = time.perf_counter() + seconds
        while (now := time.perf_counter()) < deadline:
            taken = self._taken
            for line in self._lines:
                self._push(line, socket.MSG_DONTWAIT)
            self._look()
            if self._taken == taken:
                self._waited_s += time.perf_counter() - now

    def _push(self, line: Line, flags: int = 0) -> None:
        left = self._left[line]
        try:
            sent = line.tcp.send(left, flags)
        except BlockingIOError:
            return
        self._taken += sent
        self._left[line] = left[sent:] or self._piece

    def _look(self) -> None:
        self._crowd.hear()
        for room in self._rooms:
            if room.ear.messages:
                raise Broken(repr(bytes(room.ear.record or b"")[:300]))

    def _finish(self) -> None:
        """Say one thing more, in whole, and wait for its ack: everything before has been taken."""
        for line in self._lines:
            while len(self._left[line]) < len(self._piece):
                self._push(line)
        self._look()
        rooms, ask = [Room([line], said.ACK) for line in self._lines], said.acked()
        for line in self._lines:
            line.tcp.sendall(ask(1))
        deadline = time.perf_counter() + LAST_S
        while not all(room.ear.messages for room in rooms):
            self._crowd.hear()
            if time.perf_counter() > deadline:
                raise Broken("the last message was not acknowledged")
