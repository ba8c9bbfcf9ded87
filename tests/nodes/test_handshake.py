"""What a request for a WebSocket says, and from whom it may come."""

import pytest

from roomful_nodes.handshake import answer_to, offered_codec, origin_allowed
from roomful_nodes.head import fields_of
from roomful_protocol.codecs import CODECS, Codec

HEADERS = [
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
]


def codec_of(*offers: str) -> Codec | None:
    return offered_codec(fields_of(("Sec-WebSocket-Protocol", offer) for offer in offers))


@pytest.mark.parametrize("lines", [["keep-alive, Upgrade"], ["keep-alive", "Upgrade"]])
def test_the_upgrade_may_be_in_any_line(lines: list[str]) -> None:
    codec = next(iter(CODECS.values()))
    fields = fields_of([*HEADERS, *(("Connection", line) for line in lines)])
    # The example of RFC 6455.
    assert b"Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer_to(fields, codec)


@pytest.mark.parametrize("said", ["", "keep-alive", "Upgrades", "no-upgrade", "keep-alive upgrade"])
def test_what_a_proxy_takes_for_no_upgrade_is_none(said: str) -> None:
    with pytest.raises(ValueError, match="No upgrade"):
        answer_to(fields_of([*HEADERS, ("Connection", said)]), next(iter(CODECS.values())))


def test_sub_protocols_may_be_offered_in_any_line() -> None:
    for name, codec in CODECS.items():
        assert codec_of(f"x, {name}") is codec
        assert codec_of("x", name) is codec
    assert codec_of("x", "y") is None
    assert codec_of() is codec_of("")
    assert codec_of() is not None


def test_a_sub_protocol_that_is_offered_in_a_later_line_is_named_in_the_answer() -> None:
    name, codec = next(iter(CODECS.items()))
    offers = [("Connection", "Upgrade"), *(("Sec-WebSocket-Protocol", one) for one in ("", name))]
    answer = answer_to(fields_of([*HEADERS, *offers]), codec)
    assert f"Sec-WebSocket-Protocol: {name}\r\n".encode() in answer


@pytest.mark.parametrize("origin", ["null", "file://", "http://[", "http://elsewhere.test"])
@pytest.mark.parametrize("host", ["", "chat.test"])
def test_pages_of_nowhere_or_elsewhere_may_not_connect(origin: str, host: str) -> None:
    assert not origin_allowed(origin, host, [])
    assert origin_allowed(origin, host, [origin])
    assert origin_allowed(origin, host, ["*"])


def test_our_own_pages_and_those_who_are_no_browser_may_connect() -> None:
    assert origin_allowed("https://Chat.test:8000", "chat.TEST:8000", [])
    assert origin_allowed(None, "", [])
