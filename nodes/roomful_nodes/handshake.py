"""What a client's HTTP request for a WebSocket says, before anybody is let in."""

from collections.abc import Collection, Iterable
from urllib.parse import urlsplit

from roomful_protocol.codecs import Codec, choose
from roomful_protocol.errors import Refused
from roomful_protocol.query import Query, parse_query


def origin_allowed(origin: str | None, host: str, allowed: Collection[str]) -> bool:
    """Whether a page of `origin` may connect to us, whom it called `host`.

    Browsers name the page's origin, and let no page lie about it; other clients name none.
    """
    if origin is None or "*" in allowed or origin in allowed:
        return True
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def offered_codec(header: str | None) -> Codec | None:
    """The codec for what `Sec-WebSocket-Protocol` offers; None if that is nothing we know."""
    names = [name.strip() for name in header.split(",")] if header else []
    return choose([name for name in names if name])


def read_query(pairs: Iterable[tuple[str, str]]) -> tuple[Query, Refused | None]:
    """The query, and what is wrong with it: then all that is left of it is the token.

    A browser cannot read the answer to a refused handshake; so it is told on the open socket.
    """
    pairs = list(pairs)
    try:
        return parse_query(pairs), None
    except Refused as refusal:
        tokens = [value for name, value in pairs if name == "token" and value]
        return Query(token=tokens[0] if tokens else None), refusal
