"""Addresses of brokers: checked, shown without credentials, chosen for the next attempt."""

from secrets import SystemRandom
from typing import Any, Final
from urllib.parse import urlsplit

from nats.aio.client import Server

SCHEMES: Final = ("nats", "tls", "ws", "wss")
FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 2.0

_random: Final = SystemRandom()


class BrokerError(Exception):
    """The broker cannot be used as it is; the message is one sentence for people."""


def checked(url: str) -> str:
    """`url` with its scheme, if it can be a broker's. Raises BrokerError."""
    full = url if "://" in url else f"nats://{url}"
    try:
        parts = urlsplit(full)
        usable = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        shown = url.rpartition("@")[2]
        raise BrokerError(f"{shown!r} is no address of a NATS broker; write nats://HOST:PORT.")
    return full


def without_credentials(url: str) -> str:
    """`url` as it may be shown: scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def next_server(servers: list[Server], info: dict[str, Any]) -> tuple[Server | None, float]:
    """Which server to try next and after how many seconds: growing, and never all nodes at once."""
    least = min(server.reconnects for server in servers)
    pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(least, 10))
    choice = _random.choice([server for server in servers if server.reconnects == least])
    return choice, _random.uniform(0.5, 1.0) * pause
