"""The specification says what the code does: its tables are the enums, its examples are frames."""

import re
from json import loads
from pathlib import Path

import pytest
from tests.support.vectors import vectors

from roomful_protocol.codecs import JSON
from roomful_protocol.errors import CLOSES, Code, Refused

README = (Path(__file__).parents[2] / "protocol" / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```json\n(.*?)\n```", README, re.DOTALL)
EXAMPLES = [line for block in BLOCKS for line in block.split("\n")]
REQUESTS = {"join", "leave", "history", "members", "auth", "ping", "bye"}


def rows(header: str) -> list[list[str]]:
    """The cells of the table that begins with `header`, without quotes of code."""
    lines = iter(README.split(f"\n| {header} |", 1)[1].split("\n")[2:])
    cells = []
    for line in lines:
        if not line.startswith("|"):
            break
        cells.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    return cells


def test_errors_are_those_of_the_code() -> None:
    written = {code: retry for code, retry, _ in rows("code | retry | meaning")}
    assert written == {code.slug: "yes" if code.retry else "no" for code in Code}


def test_closes_are_those_of_the_code() -> None:
    header = "close | `bye.data.code` | reconnect | meaning"
    written = [tuple(row[:3]) for row in rows(header)]
    assert written == [
        (str(close.code), close.slug, "yes" if close.reconnect else "no") for close in CLOSES
    ]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_are_frames(example: str) -> None:
    frame = loads(example)
    answers = frame["type"] in REQUESTS and "data" in frame
    if not answers and ("." in frame["type"] or frame["type"] in REQUESTS):
        assert JSON.decode(example.encode()).id == frame.get("id")
    else:
        # The order of fields is no part of the protocol, but the examples shall be real ones.
        assert JSON.encode(frame) == example.encode()


def test_every_frame_has_an_example() -> None:
    shown = {loads(example)["type"] for example in EXAMPLES}
    told = {param.values[0]["frame"]["type"] for param in vectors("node-to-client.json")}
    assert {kind for kind in REQUESTS | told if "." not in kind} <= shown


def test_clients_cannot_send_what_only_nodes_send() -> None:
    told = {param.values[0]["frame"]["type"] for param in vectors("node-to-client.json")}
    for kind in sorted(kind for kind in told - REQUESTS if "." not in kind):
        with pytest.raises(Refused, match="Only nodes"):
            JSON.decode(f'{{"type":"{kind}"}}'.encode())
