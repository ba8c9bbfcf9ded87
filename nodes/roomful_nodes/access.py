"""Who may use the operators' side of a node: whoever has the admin token, or is on this machine.

Without an admin token the API is open, but only where nobody else can reach it. A socket bound to
loopback is not enough for that: a web page may make its own name resolve to this machine (DNS
rebinding), and a proxy may forward strangers. So the request must also ask for a loopback name, and
must not have been forwarded.
"""

from hmac import compare_digest
from typing import Final

from aiohttp import web

from roomful_nodes.settings import NodeSettings, is_loopback
from roomful_protocol.errors import Code, Refused

_FORWARDED: Final = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")


class Access:
    """The door of the operators' side of one node."""

    def __init__(self, settings: NodeSettings) -> None:
        self._token = settings.admin_token
        self._local = is_loopback(settings.host)

    def check(self, request: web.Request) -> None:
        """Raises Refused (UNAUTHORIZED or FORBIDDEN) unless `request` comes from an operator."""
        if self._token is not None:
            self._check_token(request.headers.get("Authorization", ""), self._token)
        elif not (self._local and _asks_for_loopback(request)):
            raise Refused(
                Code.FORBIDDEN,
                "Without an admin token this is open on this machine only: set --admin-token.",
            )

    def _check_token(self, header: str, token: str) -> None:
        scheme, _, given = header.partition(" ")
        # In constant time, so that the token cannot be guessed letter by letter.
        same = compare_digest(given.strip().encode(errors="replace"), token.encode())
        if scheme.lower() != "bearer" or not same:
            raise Refused(Code.UNAUTHORIZED, "This needs the header Authorization: Bearer <token>.")


def _asks_for_loopback(request: web.Request) -> bool:
    if any(name in request.headers for name in _FORWARDED):
        return False
    host = request.headers.get("Host", "")
    name, _, port = host.rpartition(":")
    # Without a port, or a bare "[::1]" whose last colon is part of the address.
    return is_loopback(name if port.isdecimal() else host)
