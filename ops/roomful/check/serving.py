"""A node of a cluster of our own: a process of `roomful serve` that reaches its broker through a
proxy, to be killed, frozen and cut off."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import aiohttp

from roomful import config
from roomful.check.proxy import FaultProxy
from roomful.embedded_process import Process, dying_with

READY_S: Final = 60.0
"""So long after its troubles a node may take to be ready again."""
DRAIN_S: Final = 60.0
LOOK_S: Final = 0.1
ASK_S: Final = 2.0
_TOLD: Final = {"ROOMFUL_LOG_FORMAT": "json", "PYTHONWARNINGS": "default"}


class Serving:
    """One place in the cluster, with an address that stays, and one process after the other there.

    `id` is that of the present process, no other has it. `ends` tells of processes that ended in a
    way that nobody wanted.
    """

    def __init__(self, number: int, port: int, folder: Path, proxy: FaultProxy) -> None:
        self.number = number
        self.url = f"http://127.0.0.1:{port}"
        self.proxy = proxy
        self.id = ""
        self.ends: list[str] = []
        self.wanted = False
        self._port, self._folder = port, folder
        self._process: Process | None = None
        self._incarnation = 0
        self._watch: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self, *options: str) -> None:
        """Start a process; see `ready`."""
        self._incarnation += 1
        self.id = f"n{self.number}x{self._incarnation}"
        command = ["serve", "--port", str(self._port), "--node-id", self.id, *options]
        with (self._folder / f"{self.id}.log").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "roomful",
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C is for us, who end our nodes ourselves.
                start_new_session=True,
                preexec_fn=dying_with(os.getpid()),
                env=config.environment() | _TOLD,
            )
        self.wanted = True
        watching = self._watched(self._process, self.id)
        self._watch = asyncio.create_task(watching, name=f"watch {self.id}")

    async def _watched(self, process: Process, id: str) -> None:
        code = await process.wait()
        if self.wanted and process is self._process:
            self.ends.append(f"{id} ended by itself, with {code}.")

    async def ready(self) -> bool:
        """Wait until it takes clients; False if it does not in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_S):
                while not await self._says_ready():
                    if not self.running:
                        return False
                    await asyncio.sleep(LOOK_S)
                return True
        return False

    async def _says_ready(self) -> bool:
        limit = aiohttp.ClientTimeout(ASK_S)
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with (
                aiohttp.ClientSession(timeout=limit) as http,
                http.get(f"{self.url}/readyz") as response,
            ):
                return response.status == 200
        return False

    # -- what is done to it ------------------------------------------------------------------------

    def signal(self, number: signal.Signals) -> None:
        if self.running and self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def kill(self) -> None:
        """Let it end at once, whatever state it is in."""
        self.wanted = False
        self.signal(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()

    async def drain(self) -> None:
        """Ask it to end in good order, and kill it if it does not."""
        self.wanted = False
        self.signal(signal.SIGTERM)
        if self._process is None:
            return
        try:
            async with asyncio.timeout(DRAIN_S):
                code = await self._process.wait()
        except TimeoutError:
            self.ends.append(f"{self.id} had not drained after {DRAIN_S:g} s.")
            await self.kill()
        else:
            if code != 0:
                self.ends.append(f"{self.id} was drained, and ended with {code}.")

    async def close(self) -> None:
        self.signal(signal.SIGCONT)
        await self.kill()
        if self._watch is not None:
            await asyncio.wait([self._watch])
