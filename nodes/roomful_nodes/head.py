"""The head of a request for a WebSocket, read as nearly all clients write it, and as nothing else.

An HTTP parser knows a hundred things that can stand there, and makes objects for all of them. Here
is read what can be read only one way; whatever has more to it (a body, fields that come twice or
are missing, bytes beyond ASCII, lines that are too long) is nothing for this, and goes to a parser.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple
from urllib.parse import parse_qsl

PATH: Final = "/ws"
HEAD_BYTES: Final = 8190
"""What is longer is not read here. No line of it is longer than aiohttp allows, then, either."""

Fields = Mapping[str, str]
"""By names in small letters; what stands in several lines, in one."""

_head: Final = re.compile(
    rb"GET " + PATH.encode() + rb"(?:\?([!\"$-~]*+))? HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~]*+\r\n)+)\r\n"
).match

_BODILY: Final = frozenset(("content-length", "transfer-encoding", "sec-websocket-key1"))
"""Fields of requests with a body; the last one is of a draft that did not say that it had one."""


class Head(NamedTuple):
    """`query`: its pairs, decoded. `rest`: what came behind the head."""

    query: list[tuple[str, str]]
    fields: Fields
    rest: bytes


def read_head(said: bytes) -> Head | None:
    """The head that `said` begins with; None if it is none that is read here, or not whole."""
    found = _head(said, 0, HEAD_BYTES)
    if found is None:
        return None
    query, lines = found.groups(b"")
    fields = {}
    for line in lines.decode("ascii").splitlines():
        name, _, value = line.partition(":")
        name = name.lower()
        if name in fields:
            return None
        fields[name] = value.strip()
    if "host" not in fields or not _BODILY.isdisjoint(fields):
        return None
    return Head(_pairs(query.decode("ascii")), fields, said[found.end() :])


def fields_of(headers: Iterable[tuple[str, str]]) -> Fields:
    """The same of what a parser has found."""
    fields: dict[str, str] = {}
    for given, value in headers:
        name = given.lower()
        fields[name] = f"{fields[name]},{value}" if name in fields else value
    return fields


def _pairs(query: str) -> list[tuple[str, str]]:
    if "%" in query:
        return parse_qsl(query, keep_blank_values=True)
    pairs = [pair.partition("=") for pair in query.replace("+", " ").split("&") if pair]
    return [(name, value) for name, _, value in pairs]
