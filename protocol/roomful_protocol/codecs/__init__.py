"""Bytes to frames and back: the only modules that know JSON and msgpack."""

from collections.abc import Sequence
from typing import Final

from roomful_protocol.codecs.codec import BINARY, TEXT, Codec, wrong_kind
from roomful_protocol.codecs.json import JSON
from roomful_protocol.codecs.msgpack import MSGPACK

__all__ = ["BINARY", "CODECS", "JSON", "MSGPACK", "TEXT", "Codec", "choose", "wrong_kind"]

CODECS: Final[dict[str, Codec]] = {codec.subprotocol: codec for codec in (JSON, MSGPACK)}
"""Every codec by the name of its WebSocket sub-protocol."""


def choose(offered: Sequence[str]) -> Codec | None:
    """The codec of the first sub-protocol in `offered` that there is one for.

    JSON if the client names none at all; None if it names only unknown ones.
    """
    if not offered:
        return JSON
    return next((CODECS[name] for name in offered if name in CODECS), None)
