"""A real cluster of three nats-servers for tests, to be killed one by one or all together."""

import json
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from tests.support.cluster import free_port, until
from tests.support.nats_server import TOKEN, NatsServer
from tests.support.twins import opened

from roomful_nodes.nats_stored import Rejected, call

SERVERS = 3
READY_S = 20.0

_CLUSTERED = """
http: "127.0.0.1:{monitored}"
lame_duck_duration: "30s"
lame_duck_grace_period: "1s"
cluster {{ name: tests, listen: "127.0.0.1:{route}", routes: [{routes}], no_advertise: true }}
"""


class ClusterServer(NatsServer):
    """One of them; asked over its monitoring port what it knows of the cluster."""

    def __init__(self, folder: Path, number: int, routes: list[int], sync: str) -> None:
        self._monitored = free_port()
        others = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        more = _CLUSTERED.format(monitored=self._monitored, route=routes[number], routes=others)
        super().__init__(folder, name=f"s{number}", sync=sync, more=more)

    def retire(self) -> None:
        """Lame duck mode: it gives up its leaderships, then sends its clients elsewhere."""
        self.signal(signal.SIGUSR2)

    def said(self, path: str) -> dict[str, Any]:
        """The answer of its monitoring; empty while it does not answer."""
        try:
            with urlopen(f"http://127.0.0.1:{self._monitored}/{path}", timeout=2) as answer:
                said: dict[str, Any] = json.load(answer)
        except (URLError, OSError, ValueError):
            return {}
        return said


class NatsCluster:
    """Three servers with one JetStream. `sync`: each server's `sync_interval`."""

    token = TOKEN

    def __init__(self, folder: Path, sync: str = "always") -> None:
        routes = [free_port() for _ in range(SERVERS)]
        self.servers: list[ClusterServer] = []
        for number in range(SERVERS):
            own = folder / f"nats-{number}"
            own.mkdir()
            self.servers.append(ClusterServer(own, number, routes, sync))

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers]

    def start(self) -> None:
        """Return when all listen; see `ready`."""
        for server in self.servers:
            server.start()

    def close(self) -> None:
        for server in self.servers:
            server.close()

    async def ready(self) -> None:
        """Wait until all say that they are healthy, and every stream has a leader and followers
        that are up to date."""
        await until(self._healthy, "a healthy NATS cluster", READY_S, 0.1)

    def _healthy(self) -> bool:
        return all(server.said("healthz").get("status") == "ok" for server in self.servers)

    def meta_leader(self) -> ClusterServer | None:
        """Who decides about streams, if that is agreed upon."""
        names = {s.said("jsz").get("meta_cluster", {}).get("leader") for s in self.servers} - {None}
        return self._named(names.pop()) if len(names) == 1 else None

    def leader(self, stream: str) -> ClusterServer | None:
        """Who takes what is appended to `stream`, if there is one now."""
        for server in self.servers:
            for account in server.said("jsz?streams=true").get("account_details", ()):
                for detail in account.get("stream_detail", ()):
                    if detail["name"] == stream and (name := detail["cluster"].get("leader")):
                        return self._named(name)
        return None

    async def entrust(self, stream: str, server: ClusterServer) -> None:
        """Have `server` lead `stream`."""
        wanted = {"placement": {"preferred": server.name}}
        async with await opened(server, "test") as connection:

            async def entrusted() -> bool:
                if self.leader(stream) is server:
                    return True
                # Refused where it leads already, which the others have yet to hear.
                with suppress(Rejected):
                    await call(connection, f"STREAM.LEADER.STEPDOWN.{stream}", wanted)
                return False

            await until(entrusted, f"{stream} is entrusted", READY_S, 0.5)

    def clients(self, server: ClusterServer) -> int:
        """How many connections of clients `server` has."""
        return int(server.said("connz").get("num_connections", 0))

    def _named(self, name: str) -> ClusterServer | None:
        return next((server for server in self.servers if server.name == name), None)
