"""Who a client is: what its token says, what an anonymous one claims, whose session it resumes."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from hashlib import blake2b
from hmac import compare_digest
from typing import Any, Final, NamedTuple

import jwt
from jwt.types import Options
from msgspec import Struct

from roomful_nodes.settings import AuthSettings
from roomful_protocol.errors import Code, Refused
from roomful_protocol.ids import RoomName, SessionId, UserId, checked_user, name_of, token
from roomful_rooms.clock import Clock, NewId

_NEVER_S: Final = 1e15
"""No time of a token is so far away, in seconds."""

# Times are checked here, by the node's own clock; nothing else is promised of a token.
_OPTIONS: Final[Options] = {
    "require": ["sub"],
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_jti": False,
}
_MAC_CHARACTERS: Final = 32


class Identity(Struct, frozen=True, gc=False):
    """A client, as far as it could prove. `rooms`: patterns of what it may join; None: all.

    `expires_ms`: when its token ends, ms since 1970. `chosen`: the name was given, not made up.
    """

    user: UserId
    name: str
    rooms: tuple[str, ...] | None = None
    expires_ms: int | None = None
    chosen: bool = True

    def may_join(self, room: RoomName) -> bool:
        return self.rooms is None or any(fnmatchcase(room, pattern) for pattern in self.rooms)


class Authenticator:
    """Checks tokens (JWT: `sub`, and optionally `name`, `exp`, `nbf`, `rooms`)."""

    def __init__(
        self, settings: AuthSettings, *, anonymous: bool, clock: Clock, new_id: NewId
    ) -> None:
        self._settings, self._anonymous = settings, anonymous
        self._clock, self._new_id = clock, new_id

    def identify(self, token: str | None, user: UserId | None, name: str | None) -> Identity:
        """Who connects with these. Raises Refused(UNAUTHORIZED)."""
        if token is not None:
            return self.verify(token)
        if not self._anonymous:
            raise Refused(Code.UNAUTHORIZED, "This needs a token.")
        who = user or f"guest-{self._new_id()[:8]}"
        return Identity(who, name or who, chosen=user is not None)

    def verify(self, token: str) -> Identity:
        """Who `token` stands for. Raises Refused(UNAUTHORIZED)."""
        try:
            return self._identity(self._claims(token))
        except (jwt.PyJWTError, ValueError, TypeError, Refused) as problem:
            # It may quote what the token says, which need not be Unicode; but the client is told.
            reason = str(problem).encode(errors="backslashreplace").decode()
            raise Refused(Code.UNAUTHORIZED, f"The token is not valid: {reason}") from None

    def _claims(self, token: str) -> Mapping[str, Any]:
        settings = self._settings
        if not settings.enabled:
            raise ValueError("this node accepts no tokens.")
        algorithm = jwt.get_unverified_header(token).get("alg")
        # By family, never by what works: a public key must not be taken for an HMAC secret.
        symmetric = isinstance(algorithm, str) and algorithm.startswith("HS")
        key = settings.secret if symmetric else settings.public_key
        if not key:
            raise ValueError(f"this node has no key for {algorithm}.")
        return jwt.decode(token, key, algorithms=list(settings.algorithms), options=_OPTIONS)

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        user = checked_user(claims["sub"])
        expires_ms = _milliseconds(claims, "exp")
        now = self._clock.wall_ms()
        if expires_ms is not None and expires_ms <= now:
            raise ValueError("it has expired.")
        starts_ms = _milliseconds(claims, "nbf")
        if starts_ms is not None and starts_ms > now:
            raise ValueError("it is not valid yet.")
        return Identity(user, checked_user(claims.get("name", user)), _rooms(claims), expires_ms)


def _milliseconds(claims: Mapping[str, Any], name: str) -> int | None:
    value = claims.get(name)
    if value is None:
        return None
    # JSON of Python knows Infinity, and integers that no float can hold.
    sound = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _NEVER_S
    if not sound:
        raise ValueError(f"its {name} is no number.")
    return int(value * 1000)


def _rooms(claims: Mapping[str, Any]) -> tuple[str, ...] | None:
    rooms = claims.get("rooms")
    if rooms is None:
        return None
    if not isinstance(rooms, list) or not all(isinstance(room, str) for room in rooms):
        raise ValueError("its rooms are no list of patterns.")
    return tuple(rooms)


class Ticket(NamedTuple):
    """What a secret says: whose session it is, and over which of its connections it was given."""

    user: UserId
    connection: int


class Secrets:
    """What a client shows to resume its session: the user, the number of the connection over which
    it was given, and a code that binds them together, which only who has the key can make.

    Any node can check it, also when the node that opened the session is gone. Connections are
    numbered by what the client has heard of: one that resumes comes after the one whose secret it
    shows. So what an earlier one has asked for, and arrives late, is known to be out of date.
    """

    def __init__(self, key: bytes) -> None:
        # Keyed BLAKE2, which is made for this, takes a quarter of the time of HMAC with SHA-256.
        self._keyed = blake2b(key=blake2b(key).digest(), digest_size=_MAC_CHARACTERS // 2)

    def secret(self, session: SessionId, user: UserId, connection: int) -> str:
        return f"{token(user)}.{connection}.{self._mac(session, user, connection)}"

    def read(self, session: SessionId, secret: str) -> Ticket | None:
        """What `secret` says, if it is one of that session."""
        named, _, mac = secret.rpartition(".")
        named, _, number = named.rpartition(".")
        try:
            ticket = Ticket(name_of(named), int(number))
            expected, given = self._mac(session, *ticket).encode(), mac.encode()
        except ValueError:
            return None
        return ticket if compare_digest(given, expected) else None

    def _mac(self, session: SessionId, user: UserId, connection: int) -> str:
        mac = self._keyed.copy()
        mac.update(f"{session}\n{user}\n{connection}".encode())
        return mac.hexdigest()
