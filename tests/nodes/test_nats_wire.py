"""The parser under random read boundaries, and header blocks as the broker writes them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roomful_nodes.nats_wire import Malformed, Parser, field, headers, publication, sequence, status

Heard = tuple[bytes, bytes | None, bytes | None, bytes]
HEADER = b"NATS/1.0\r\nNats-Sequence: 7\r\n\r\n"

LINES = (b"PING", b"PONG", b"+OK", b"-ERR 'x'", b'INFO {"a":1}')
payloads = st.binary(max_size=60) | st.sampled_from([b"\r\n", b"MSG a 1 3\r\nxyz\r\n", b"PING\r\n"])


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, bytes, Heard]:
    """A message on the wire, its subscription, and what is to be heard."""
    sid = draw(st.sampled_from([b"1", b"2", b"99"]))
    reply = draw(st.sampled_from([None, b"_INBOX.a.1"]))
    header = draw(st.sampled_from([None, HEADER, b"NATS/1.0 503\r\n\r\n"]))
    payload = draw(payloads)
    back = b"" if reply is None else reply + b" "
    gap = draw(st.sampled_from([b" ", b"  ", b"\t"]))
    if header is None:
        head = b"MSG s.x%b%b %b%d" % (gap, sid, back, len(payload))
    else:
        size = len(header)
        head = b"HMSG s.x%b%b %b%d %d" % (gap, sid, back, size, size + len(payload))
    wire = head + b"\r\n" + (header or b"") + payload + b"\r\n"
    return wire, sid, (b"s.x", reply, header, payload)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(messages() | st.sampled_from(LINES), max_size=30),
    st.lists(st.integers(1, 70), min_size=1),
)
def test_what_is_heard_does_not_depend_on_how_it_was_read(
    said: list[tuple[bytes, bytes, Heard] | bytes], cuts: list[int]
) -> None:
    heard: list[tuple[bytes, Heard]] = []
    lines: list[bytes] = []
    parser = Parser(
        {
            b"1": lambda *message: heard.append((b"1", message)),
            b"2": lambda *message: heard.append((b"2", message)),
        }
    )
    wire = b"".join(one + b"\r\n" if isinstance(one, bytes) else one[0] for one in said)
    start = turn = 0
    while start < len(wire):
        stop = start + cuts[turn % len(cuts)]
        lines += parser.feed(wire[start:stop])
        start, turn = stop, turn + 1
    assert heard == [one[1:] for one in said if not isinstance(one, bytes) and one[1] != b"99"]
    assert lines == [one for one in said if isinstance(one, bytes)]


def test_a_large_message_in_many_reads_is_whole() -> None:
    heard: list[bytes] = []
    parser = Parser({b"1": lambda _, __, ___, payload: heard.append(payload)})
    payload = bytes(range(256)) * 4000
    wire = b"MSG s 1 %d\r\n%b\r\nPING\r\n" % (len(payload), payload)
    lines: list[bytes] = []
    for start in range(0, len(wire), 32768):
        lines += parser.feed(wire[start : start + 32768])
    assert heard == [payload]
    assert lines == [b"PING"]


def test_a_listener_that_raises_does_not_stop_the_others() -> None:
    heard: list[bytes] = []

    def broken(*_: object) -> None:
        raise RuntimeError("on purpose")

    parser = Parser({b"1": broken, b"2": lambda _, __, ___, payload: heard.append(payload)})
    assert parser.feed(b"MSG s 1 1\r\na\r\nMSG s 2 1\r\nb\r\n") == []
    assert heard == [b"b"]


def test_after_a_reset_nothing_is_left_of_the_old_connection() -> None:
    heard: list[bytes] = []
    parser = Parser({b"1": lambda _, __, ___, payload: heard.append(payload)})
    parser.feed(b"MSG s 1 100\r\nhalf")
    parser.reset()
    parser.feed(b"MSG s 1 1\r\na\r\n")
    assert heard == [b"a"]


@pytest.mark.parametrize("line", [b"MSG", b"MSG s 1 x", b"HMSG s 1", b"MSG s 1 1.5"])
def test_a_broken_message_line_is_malformed(line: bytes) -> None:
    with pytest.raises(Malformed):
        Parser({}).feed(line + b"\r\n")


def test_publications_name_subject_reply_and_sizes() -> None:
    assert publication(b"a.b", b"hi") == b"PUB a.b  2\r\nhi\r\n"
    assert publication(b"a", b"", None, b"r") == b"PUB a r 0\r\n\r\n"
    assert publication(b"a", b"hi", b"NATS/1.0\r\n\r\n", b"r") == (
        b"HPUB a r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"
    )


def test_header_blocks_are_read_as_they_are_written() -> None:
    block = headers({"Nats-TTL": "5s", "Nats-Sequence": 12})
    assert block == b"NATS/1.0\r\nNats-TTL: 5s\r\nNats-Sequence: 12\r\n\r\n"
    assert field(block, b"Nats-TTL") == b"5s"
    assert field(block, b"TTL") is None
    assert field(None, b"Nats-TTL") is None
    assert sequence(block) == 12
    assert sequence(None) == 0


def test_a_field_whose_name_ends_like_another_is_not_taken_for_it() -> None:
    block = headers({"Nats-Expected-Last-Subject-Sequence": 3, "Nats-Sequence": 4})
    assert sequence(block) == 4


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (None, 0),
        (HEADER, 0),
        (b"NATS/1.0 503\r\n\r\n", 503),
        (b"NATS/1.0 404 Message Not Found\r\n\r\n", 404),
        (b"NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\n\r\n", 204),
        (b"NATS/1.0 x\r\n\r\n", 0),
    ],
)
def test_a_status_is_found_where_the_broker_puts_one(block: bytes | None, expected: int) -> None:
    assert status(block) == expected
