"""Everything one node can be told, as plain frozen values.

Nobody below `ops` reads the environment or a file: these values are made once, at the edge, and
handed down. The defaults are the product's own; `ops/README.md` describes each for operators.
"""

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from roomful_protocol.frames import Limits

DEFAULT_PORT: Final = 8000


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or an address, as bound or as asked for) is this machine only."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """How a client's token (a JWT) is checked; with neither key, no token is accepted.

    `secret` verifies the HS* algorithms, `public_key` (PEM) all others. A token whose algorithm is
    not in `algorithms` is refused whatever it says about itself.
    """

    secret: str | None = field(default=None, repr=False)
    public_key: str | None = None
    algorithms: tuple[str, ...] = ()

    @property
    def enabled(self) -> bool:
        """Whether any token could be valid."""
        return bool(self.secret or self.public_key)


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What a node is told at its start. Names ending in `_s` are seconds.

    `anonymous`: clients without a token are let in under the name they give.
    `admin_token`: opens the operators' API and `/metrics`; without it both answer loopback only.
    `allowed_origins`: pages that may open a WebSocket, as `scheme://host[:port]`; `*` is any,
    empty means the page's own host.
    `lease_s`: how long the cluster believes in a node it no longer hears.
    `probe_s`: pause between the pings by which nodes notice that another's process has ended.
    `idle_s`: a room nobody used for so long leaves memory; its log stays.
    `drain_window_s`: over how long clients are asked to leave when the node goes down.
    `node_id`: none makes a fresh one at each start.
    `limit_connects_per_s`: how fast clients are let in; who comes faster waits.
    `mailbox`: commands that may wait for one room; beyond, clients are told `busy`.
    `siblings`: a folder in which nodes meet that share one port; None: the port is this node's own.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    anonymous: bool = True
    auth: AuthSettings = field(default_factory=AuthSettings)
    admin_token: str | None = field(default=None, repr=False)
    allowed_origins: tuple[str, ...] = ()
    heartbeat_s: float = 25
    grace_s: float = 15
    limits: Limits = field(default_factory=Limits)
    limit_connects_per_s: float = 500
    lease_s: float = 5
    probe_s: float = 0.2
    replicas: int = 1
    prefix: str = "rf"
    idle_s: float = 300
    drain_window_s: float = 5
    node_id: str | None = None
    handler_timeout_s: float = 10
    mailbox: int = 1024
    request_timeout_s: float = 10
    siblings: Path | None = None

    @property
    def address(self) -> str:
        """Where this node listens, as shown to operators: `host:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
