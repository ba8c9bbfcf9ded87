"""What a client's HTTP request for a WebSocket says, before anybody is let in; and the answer."""

from binascii import a2b_base64, b2a_base64
from collections.abc import Collection
from hashlib import sha1
from typing import Final
from urllib.parse import urlsplit

from roomful_nodes.head import Fields
from roomful_protocol.codecs import Codec, choose
from roomful_protocol.errors import Refused
from roomful_protocol.query import Query, parse_query

_VERSIONS: Final = ("13", "8", "7")
_KEY_BYTES: Final = 16
# To look up an algorithm takes OpenSSL longer than to hash with it; a copy need not.
_hashing: Final = sha1(usedforsecurity=False)
_SALT: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCHING: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %b\r\n"
)
_PROTOCOL: Final = "Sec-WebSocket-Protocol"
_OFFERED: Final = _PROTOCOL.lower()


def answer_to(fields: Fields, codec: Codec) -> bytes:
    """The answer that opens a WebSocket in which `codec` is spoken. Raises ValueError, saying why
    the request is not one for a WebSocket."""
    if fields.get("upgrade", "").lower() != "websocket":
        raise ValueError("This address is for WebSockets.")
    # As a proxy before us reads it: it would take what comes behind for another request.
    if "upgrade" not in map(str.strip, fields.get("connection", "").lower().split(",")):
        raise ValueError("No upgrade of the connection is asked for.")
    if (version := fields.get("sec-websocket-version", "")) not in _VERSIONS:
        raise ValueError(f"WebSockets of version {version} are not spoken here.")
    key = fields.get("sec-websocket-key", "")
    if len(a2b_base64(key)) != _KEY_BYTES:
        raise ValueError("The key of a WebSocket has 16 bytes.")
    hashed = _hashing.copy()
    hashed.update(key.encode() + _SALT)
    answer = _SWITCHING % b2a_base64(hashed.digest(), newline=False)
    if fields.get(_OFFERED, "").strip(" ,"):
        answer += b"%b: %b\r\n" % (_PROTOCOL.encode(), codec.subprotocol.encode())
    return answer + b"\r\n"


def origin_allowed(origin: str | None, host: str, allowed: Collection[str]) -> bool:
    """Whether a page of `origin` may connect to us, whom it called `host`.

    Browsers name the page's origin, and let no page lie about it; other clients name none.
    """
    if origin is None or "*" in allowed or origin in allowed:
        return True
    try:
        named = urlsplit(origin).netloc.lower()
    except ValueError:
        return False
    # That of a file, or of a page without an origin (`null`), names no host.
    return bool(named) and named == host.lower()


def offered_codec(fields: Fields) -> Codec | None:
    """The codec for what `Sec-WebSocket-Protocol` offers; None if that is nothing we know."""
    names = map(str.strip, fields.get(_OFFERED, "").split(","))
    return choose(list(filter(None, names)))


def read_query(pairs: Collection[tuple[str, str]]) -> tuple[Query, Refused | None]:
    """The query, and what is wrong with it: then all that is left of it is the token.

    A browser cannot read the answer to a refused handshake; so it is told on the open socket.
    """
    try:
        return parse_query(pairs), None
    except Refused as refusal:
        tokens = [value for name, value in pairs if name == "token" and value]
        return Query(token=tokens[0] if tokens else None), refusal
