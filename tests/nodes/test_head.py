"""Heads of requests: read as an HTTP parser reads them, or not at all."""

import asyncio

import pytest
from aiohttp.http import HttpProcessingError, HttpRequestParser, RawRequestMessage
from hypothesis import given
from hypothesis import strategies as st
from tests.support.raw import handshake

from roomful_nodes.head import HEAD_BYTES, fields_of, read_head

QUERY = "?room=den&room=caf%C3%A9+a&since=&x"


def parsed(said: bytes) -> RawRequestMessage | None:
    """What aiohttp makes of it."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(None, loop, 2**16, max_line_size=8190, max_field_size=8190)
        requests, _, _ = parser.feed_data(said)
    except HttpProcessingError:
        return None
    finally:
        loop.close()
    return requests[0][0] if requests else None


def test_a_head_is_its_query_its_fields_and_what_comes_behind() -> None:
    head = read_head(handshake(QUERY) + b"\x81\x80more")
    assert head is not None
    assert head.query == [("room", "den"), ("room", "café a"), ("since", ""), ("x", "")]
    assert head.fields["upgrade"] == "websocket"
    assert head.rest == b"\x81\x80more"
    bare = read_head(handshake())
    assert bare is not None
    assert (bare.query, bare.rest) == ([], b"")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"GET /ws ", b"HEAD /ws "),
        (b"GET /ws ", b"GET /ws/ "),
        (b"GET /ws ", b"GET /wss "),
        (b"GET /ws ", b"GET /ws?a#b "),
        (b"GET /ws ", b"GET /ws?a b "),
        (b"GET /ws ", b"GET http://x/ws "),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"\r\n\r\n", b"\r\n"),
        (b"\r\n\r\n", b"\n\n"),
        (b"Host: ", b"Hosts: "),
        (b"\r\n\r\n", b"\r\nSec-WebSocket-Key1: 1\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nuPgrade: websocket\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nName : spaced\r\n\r\n"),
        (b"\r\n\r\n", b"\r\n folded\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nX: a\rb\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nX: a\nb\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nX: a\0b\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nX: \xc3\xa9\r\n\r\n"),
        (b"\r\n\r\n", b"\r\nX: " + b"a" * HEAD_BYTES + b"\r\n\r\n"),
    ],
)
def test_what_may_be_read_in_another_way_is_left_to_a_parser(before: bytes, after: bytes) -> None:
    assert read_head(handshake()) is not None
    changed = handshake().replace(before, after)
    assert changed != handshake()
    assert read_head(changed) is None


_near = st.text(st.sampled_from("a=&%+C3 \t:,;#?/\r\n\x00\x7fé"), max_size=12)


@given(query=_near, name=_near, value=_near, cut=st.integers(0, 3))
def test_no_head_is_read_other_than_a_parser_does(
    query: str, name: str, value: str, cut: int
) -> None:
    lines = f"\r\nX{name}:{value}\r\n\r\n".encode()
    said = handshake("?" + query).replace(b"\r\n\r\n", lines)
    said = said[: len(said) - cut]
    head = read_head(said)
    if head is None:
        return
    message = parsed(said[: len(said) - len(head.rest)])
    assert message is not None
    assert message.url.path == "/ws"
    assert head.query == list(message.url.query.items())
    assert head.fields == fields_of(message.headers.items())


def test_fields_in_several_lines_are_one_list() -> None:
    assert fields_of([("A", "1"), ("b", "2"), ("a", "3")]) == {"a": "1,3", "b": "2"}
