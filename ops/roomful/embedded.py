"""The broker that a node brings along: a nats-server as its child, for as long as the node lives.

It listens on loopback only, asks for a token, and keeps its port when it is restarted. It dies
with the node however that ends; if it dies by itself it is started again.
"""

import asyncio
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from structlog import get_logger

from roomful.embedded_folder import SYNC_S, EmbeddedError, Folder, is_free, unwritable
from roomful.embedded_health import gave_up
from roomful.embedded_process import Process, end, find_binary, start
from roomful.pauses import Pauses
from roomful_nodes.nats_broker import Broker

__all__ = ["EmbeddedError", "EmbeddedServer"]

LOCK_S: Final = 2.0
"""How long the server of a node that was killed may take to let go of the store."""
STEADY_S: Final = 30.0
"""A server that has run so long is started again without a pause."""
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
WATCH_S: Final = 2.0
"""How often it is asked whether it still writes."""

log = get_logger(__name__)


class EmbeddedServer:
    """`async with EmbeddedServer(data_dir) as server`: then `server.url` and `server.token`.

    `port`: None takes a free one, and the same again the next time. Entering raises EmbeddedError.
    """

    def __init__(self, data_dir: Path | str, port: int | None = None) -> None:
        self._data_dir = Path(data_dir)
        self._wanted_port = port
        self._port = -1
        self._monitoring = ""
        self._folder: Folder | None = None
        self._process: Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it listens; the same after a restart."""
        return f"nats://127.0.0.1:{self._port}"

    @property
    def token(self) -> str:
        return self._opened().token()

    @property
    def incarnation(self) -> str:
        """Which one the store is: another one after each time it may have forgotten something."""
        return self._opened().marker.incarnation

    @property
    def broker(self) -> Broker:
        """The server as nodes know it."""
        return Broker([self.url], self.token, sync_s=SYNC_S, incarnation=self.incarnation)

    @property
    def log_path(self) -> Path:
        """The server's own log."""
        return self._opened().log

    @property
    def pid(self) -> int:
        """Of the process that runs now, or ran last."""
        return self._started().pid

    async def __aenter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            # The kernel ends the server with the thread that started it, not with the process.
            raise EmbeddedError("Start the embedded nats-server from the main thread.")
        binary = find_binary()
        self._folder = await self._locked_folder()
        if self._folder.marker.anew:
            log.warning("embedded.store_unsure", incarnation=self.incarnation)
        try:
            await self._launch(binary, self._first_port())
        except BaseException:
            self._folder.close()
            raise
        self._keeper = asyncio.create_task(self._keep(binary), name="embedded-nats")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server: SIGTERM, after ten seconds SIGKILL."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        folder = self._opened()
        try:
            await end(self._started())
            await self._settle(folder)
        finally:
            folder.close()
        log.info("embedded.stopped", url=self.url)

    async def _settle(self, folder: Folder) -> None:
        try:
            await asyncio.to_thread(folder.marker.settle)
        except OSError as error:
            # Then the store counts as unsure if the machine boots before the next start.
            log.warning("embedded.not_settled", reason=str(error))

    async def _locked_folder(self) -> Folder:
        """Raises EmbeddedError if another node has it, or nobody can write to it."""
        deadline = asyncio.get_running_loop().time() + LOCK_S
        while True:
            try:
                return Folder.open(self._data_dir)
            except BlockingIOError:
                if asyncio.get_running_loop().time() > deadline:
                    break
            await asyncio.sleep(0.05)
        raise EmbeddedError(
            f"Another node uses the data directory {self._data_dir}; give this one its own with "
            "--data-dir, or let both use one broker with --nats."
        )

    def _first_port(self) -> int:
        """The port to listen on, -1 for any. Raises EmbeddedError if the wanted one is taken."""
        if self._wanted_port is None:
            return self._opened().last_port() or -1
        if not is_free(self._wanted_port):
            raise EmbeddedError(
                f"Port {self._wanted_port} for the embedded nats-server is taken; "
                "choose another one, or none for any."
            )
        return self._wanted_port

    async def _launch(self, binary: str, port: int) -> None:
        """Start the server and log it. Raises EmbeddedError."""
        folder = self._opened()
        try:
            folder.configure(port)
            self._process, self._port, self._monitoring = await start(binary, folder)
            folder.remember_port(self._port)
        except OSError as error:
            raise unwritable(self._data_dir, error) from None
        log.info("embedded.started", url=self.url, pid=self.pid, log=str(folder.log))

    async def _keep(self, binary: str) -> None:
        """Start the server again whenever it ends, after growing pauses."""
        loop, pauses = asyncio.get_running_loop(), Pauses(FIRST_PAUSE_S, LONGEST_PAUSE_S, STEADY_S)
        while True:
            since = loop.time()
            code = await self._ended()
            log.error("embedded.died", code=code, last=self._opened().last_words())
            ran_s, running = loop.time() - since, False
            while not running:
                await asyncio.sleep(pauses.after(ran_s))
                ran_s, running = 0.0, await self._relaunched(binary)

    async def _ended(self) -> int:
        """Wait until the server has ended, or end it when it has given up writing; its code."""
        process = self._started()
        waiting = asyncio.create_task(process.wait(), name="embedded-nats-end")
        try:
            while not (await asyncio.wait({waiting}, timeout=WATCH_S))[0]:
                if await gave_up(self._monitoring):
                    await end(process)
            return await waiting
        finally:
            waiting.cancel()

    async def _relaunched(self, binary: str) -> bool:
        try:
            await self._launch(binary, self._port)
        except EmbeddedError as error:
            log.warning("embedded.not_restarted", reason=str(error))
            return False
        return True

    def _opened(self) -> Folder:
        if self._folder is None:
            raise RuntimeError("the embedded server has not been entered")
        return self._folder

    def _started(self) -> Process:
        if self._process is None:
            raise RuntimeError("the embedded server has not been entered")
        return self._process
