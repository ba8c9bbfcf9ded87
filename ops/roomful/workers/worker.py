"""One worker's process, as its supervisor sees it: started, listened to, ended."""

import asyncio
import signal
import socket
import sys
from dataclasses import dataclass
from typing import Final, Self

import structlog

from roomful.embedded_process import Process, end
from roomful.failure import Failure
from roomful.workers.line import READY, Order, failure_in

START_S: Final = 120.0
"""A worker that does not take clients after so long is killed: it counts as not started."""
HUNG_S: Final = 30.0
"""A worker that has not said for so long that it lives is killed."""
LOOK_S: Final = 5.0
"""Such time is counted in steps: if all processes stood still for a while, that counts once."""
UNKNOWN: Final = b"\n"
"""A line that is none of a worker's words."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a worker has ended: `code` is its exit code (-9: killed by signal 9), `reason` what it
    said itself, `ready` whether it had taken clients."""

    code: int
    reason: str | None
    ready: bool

    def __str__(self) -> str:
        return self.reason or (
            f"killed by signal {-self.code}" if self.code < 0 else f"exit code {self.code}"
        )


class Worker:
    """One process; `await Worker.start(order)` makes it."""

    def __init__(
        self, process: Process, said: asyncio.StreamReader, line: asyncio.StreamWriter
    ) -> None:
        self._process, self._said, self._line = process, said, line
        self._ready = False
        self._reason: str | None = None

    @classmethod
    async def start(cls, order: Order) -> Self:
        """Start the process, and tell it what it is to be. Raises Failure."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise _cannot_start(error) from None
        with theirs:
            try:
                process = await asyncio.create_subprocess_exec(
                    # Without -P, a file of the current directory could stand for a library.
                    sys.executable, "-P", "-m", "roomful.workers", str(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    # Ctrl-C is for the supervisor, which tells its workers.
                    start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                ours.close()
                raise _cannot_start(error) from None
        said, line = await asyncio.open_unix_connection(sock=ours)
        line.write(order.packed())
        return cls(process, said, line)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ready(self) -> bool:
        """Wait until it takes clients; False if it ends before that."""
        while not self._ready and (said := await self._heard(START_S)):
            self._take(said)
        return self._ready

    async def ended(self) -> Ended:
        """Wait for its end."""
        while said := await self._heard(HUNG_S):
            self._take(said)
        code = await self._process.wait()
        self._line.close()
        return Ended(code, self._reason, self._ready)

    async def _heard(self, patience_s: float) -> bytes:
        """A line; nothing when it has ended. One that is silent for so long is killed."""
        silent_s = 0.0
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    return await self._said.readline()
            except TimeoutError:
                if self._process.returncode is not None:
                    # Its line is held open by a process that it has forked.
                    return b""
                silent_s += LOOK_S
                if silent_s >= patience_s:
                    log.error("worker.hung", pid=self.pid, silent_s=silent_s)
                    self.kill()
            except ConnectionError:
                # It has not even read its order.
                return b""
            except ValueError:
                # Longer than any line of ours: something else has written there.
                return UNKNOWN

    def _take(self, said: bytes) -> None:
        self._ready = self._ready or said.rstrip() == READY
        self._reason = failure_in(said) or self._reason

    def tell(self) -> None:
        """To end in good order; to hurry, if it has been told before."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    async def end(self) -> None:
        """Have it end in a hurry; kill it if it does not."""
        if self._process.returncode is None:
            # Told twice, by two signals: one that waits is not counted again.
            self._process.send_signal(signal.SIGINT)
        await end(self._process)
        self._line.close()


def _cannot_start(error: OSError) -> Failure:
    return Failure(f"A worker cannot be started: {error.strerror}.")
