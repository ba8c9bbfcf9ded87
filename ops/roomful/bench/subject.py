"""What is measured and what it is measured against: a node, a bare broker, servers in plain C."""

import http.client
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from roomful.bench.processes import BROKER, SERVER_CORE, Server, Unstarted, binary, free_port
from roomful.bench.tools import Mode, Tools

NODE: Final = (sys.executable, "-m", "roomful", "serve")
BARE: Final = (sys.executable, "-m", "roomful.bench.bare")
ALONE: Final = (sys.executable, "-m", "roomful.bench.aiohttp_alone")
RELAY: Final = (sys.executable, "-m", "roomful.bench.relay")
STEADY: Final = ("--heartbeat-s", "3600")
"""For loads that count bytes: no ping comes between."""
PAYLOAD: Final = b"x" * 100
"""What is said, wherever the load generator does not make it up."""
_UNLIMITED: Final = {
    "ROOMFUL_LIMIT_MESSAGES_PER_S": "1000000000",
    "ROOMFUL_LIMIT_BURST": "1000000000",
    "ROOMFUL_LIMIT_CONNECTS_PER_S": "1000000000",
    "ROOMFUL_DRAIN_WINDOW_S": "0",
    "ROOMFUL_LOG_FORMAT": "json",
    "ROOMFUL_LOG_LEVEL": "warning",
}
_SETUP: Final = """
listen: 127.0.0.1:{port}
jetstream {{ store_dir: "{folder}", sync_interval: 100ms }}
"""


@dataclass(frozen=True, slots=True)
class Bench:
    """Starts what is measured, each in a fresh folder below `folder`.

    `seconds`: how long a rate is measured.
    """

    folder: Path
    tools: Tools | None
    seconds: float = 3.0

    def fresh(self) -> Path:
        """An empty folder, for a node to leave its data in."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    @contextmanager
    def node(
        self, folder: Path | None = None, *flags: str, cores: Sequence[int] = (SERVER_CORE,)
    ) -> Iterator[Server]:
        """A node with an embedded broker, on the servers' core; nobody's rate is limited.

        In the `folder` of an earlier one, it comes up with that one's rooms. `flags` as for
        `roomful serve`: with --nats it has no broker of its own.
        """
        port, folder = free_port(), folder or self.fresh()
        command = [*NODE, "--port", str(port), *flags]
        environment = _UNLIMITED | {"ROOMFUL_DATA_DIR": str(folder / "data")}
        with Server.started(command, port, folder, _ready, environment, cores) as server:
            yield server

    @contextmanager
    def pair(self, id: str) -> Iterator[tuple[Server, Server, Server]]:
        """Two nodes, the first of them of the name `id`, and the broker they share."""
        with self.broker() as broker:
            flags = ("--nats", f"nats://127.0.0.1:{broker.port}")
            with (
                self.node(None, *flags, "--node-id", id) as named,
                self.node(None, *flags) as other,
            ):
                yield named, other, broker

    @contextmanager
    def ceiling(self, mode: Mode) -> Iterator[Server]:
        """A fan-out server in C: `/ws` one room, `/r/N` room N, `/echo` only to the sender."""
        if self.tools is None:
            raise Unstarted("The tools in C are not there.")
        port = free_port()
        with Server.started(self.tools.ceiling(port, mode), port, self.folder) as server:
            yield server

    def bare(self, answer: bytes, size: int) -> AbstractContextManager[Server]:
        """A server that does nothing but send every room `answer` for each `size` bytes said."""
        file = self.fresh() / "answer"
        file.write_bytes(answer)
        return self._beside(BARE, file, size)

    def aiohttp_alone(self) -> AbstractContextManager[Server]:
        """A server that opens WebSockets, with aiohttp, and does nothing else."""
        return self._beside(ALONE)

    def relay(self, size: int) -> AbstractContextManager[Server]:
        """One room, where all that is said goes to everybody, in `size` bytes, at a node's pace,
        and nothing else is done."""
        return self._beside(RELAY, size)

    def _beside(self, command: Sequence[str], *arguments: object) -> AbstractContextManager[Server]:
        """A server of ours that a node is compared with."""
        port = free_port()
        command = [*command, str(port), *map(str, arguments)]
        return Server.started(command, port, self.fresh())

    @contextmanager
    def broker(self) -> Iterator[Server]:
        """A bare broker with JetStream, that stores as the embedded one does."""
        port, folder = free_port(), self.fresh()
        program = binary(BROKER, Path(sys.executable).parent)
        if program is None:
            raise Unstarted("There is no nats-server.")
        setup = folder / "broker.conf"
        setup.write_text(_SETUP.format(port=port, folder=folder / "store"))
        with Server.started([program, "-c", str(setup)], port, folder) as server:
            yield server


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
