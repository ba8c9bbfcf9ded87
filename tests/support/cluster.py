"""Real nodes as processes, on one broker: to be killed, paused and restarted by tests."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
from tests.support.orphans import die_with_parent

READY_S = 20.0


async def until(
    true: Callable[[], Any], what: str, within_s: float = 10.0, every_s: float = 0.02
) -> Any:
    """Wait for a condition with a deadline; its value. Fails saying `what` did not happen."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        value = true()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"not within {within_s} s: {what}")
        await asyncio.sleep(every_s)


def free_port() -> int:
    """A port of loopback that nobody uses now, nor is given by chance before these tests end: who
    listens there may be killed, and come back to it."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port = int(held.getsockname()[1])
    held.detach()
    return port


class NodeProcess:
    """One `roomful serve` process; `log` is all it has printed."""

    def __init__(self, folder: Path, *args: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._args = args
        folder.mkdir(exist_ok=True)
        self._output = folder / f"node-{self.port}.log"
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> str:
        return self._output.read_text() if self._output.exists() else ""

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of its log about this."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, *, ready: bool = True) -> "NodeProcess":
        """Start the process; return when `/readyz` says yes (or at once)."""
        command = [sys.executable, "-m", "roomful", "serve", "--port", str(self.port), *self._args]
        with self._output.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdout=output,
                stderr=output,
                cwd=self._folder,
                preexec_fn=die_with_parent,
                env=os.environ | {"ROOMFUL_LOG_FORMAT": "json", "PYTHONWARNINGS": "default"},
            )
        if ready:
            await until(self.ready, f"node on port {self.port} ready\n{self.log}", READY_S, 0.05)
        return self

    async def ready(self) -> bool:
        if self._process is not None and self._process.returncode is not None:
            raise AssertionError(f"the node ended with {self._process.returncode}:\n{self.log}")
        with suppress(aiohttp.ClientError, OSError):
            async with aiohttp.ClientSession() as http, http.get(f"{self.url}/readyz") as response:
                return response.status == 200
        return False

    async def metrics(self) -> dict[str, float]:
        """What it counts, by name (and labels, as Prometheus writes them)."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.url}/metrics") as response:
            lines = [line for line in (await response.text()).splitlines() if line[:1] != "#"]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def stop(self, within_s: float = 30.0) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended(within_s)

    async def ended(self, within_s: float = 10.0) -> int:
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), within_s)

    async def cleanup(self) -> None:
        """End it whatever state it is in."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self.signal(signal.SIGCONT)
                self.signal(signal.SIGKILL)
            await self._process.wait()
