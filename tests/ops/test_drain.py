"""`roomful drain`: what it orders, what it shows, and how it ends."""

import json
from typing import Any

import pytest
from tests.support.command_line import Answering, Run, sentence

from roomful import drain


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again at once, and be patient for a moment only."""
    monkeypatch.setattr(drain, "POLL_S", 0.01)
    monkeypatch.setattr(drain, "PATIENCE_S", 0.2)


def nodes(state: str, **more: Any) -> bytes:
    """What /api/nodes says of n2, and of another."""
    view = {
        "id": "n2", "state": state, "partitions": 5, "connections": 7, "left_s": None,
        "started_ms": 1, **more,
    }  # fmt: skip
    return json.dumps({"nodes": [view | {"id": "n1", "state": "ready"}, view]}).encode()


NOBODY = json.dumps({"nodes": []}).encode()


def test_it_shows_how_far_the_node_is_until_it_is_drained(
    run: Run, answering: type[Answering]
) -> None:
    answering.bodies += [
        nodes("ready"), nodes("draining"), nodes("draining", partitions=0, left_s=4.2),
        nodes("draining", partitions=0, left_s=4.2), nodes("drained"),
    ]  # fmt: skip
    code, out, err = run("drain", "n2", "--window", "30s", "--url", answering.url)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "n2 is draining: 5 partitions, 7 clients",
        "n2 is draining: 0 partitions, 7 clients, about 4 s left",
        "n2 is drained: it can be stopped.",
    ]
    assert answering.posted == [("/api/nodes/n2/drain", b'{"window_s": 30.0}')]


def test_machines_get_one_object_a_line(run: Run, answering: type[Answering]) -> None:
    answering.bodies += [nodes("draining"), nodes("drained")]
    code, out, _ = run("drain", "n2", "--json", "--url", answering.url)
    assert code == 0
    assert [json.loads(line)["state"] for line in out.splitlines()] == ["draining", "drained"]
    assert answering.posted == [("/api/nodes/n2/drain", b'{"window_s": null}')]


def test_any_name_of_a_node(run: Run, answering: type[Answering]) -> None:
    answering.bodies += [json.dumps({"nodes": []}).encode()]
    run("drain", "a/b c", "--url", answering.url)
    assert answering.posted[0][0] == "/api/nodes/a%2Fb%20c/drain"


@pytest.mark.parametrize(
    ("window", "seconds"), [("30", 30.0), ("1.5s", 1.5), ("2m", 120.0), ("1h", 3600.0), ("0", 0.0)]
)
def test_windows(run: Run, answering: type[Answering], window: str, seconds: float) -> None:
    answering.bodies += [nodes("drained")]
    run("drain", "n2", "--window", window, "--url", answering.url)
    assert json.loads(answering.posted[0][1]) == {"window_s": seconds}


@pytest.mark.parametrize("window", ["", "soon", "-3", "30 s", "5d"])
def test_what_is_no_window_is_wrong_usage(
    run: Run, answering: type[Answering], window: str
) -> None:
    code, _, err = run("drain", "n2", f"--window={window}", "--url", answering.url)
    assert (code, answering.posted) == (2, [])
    assert "30s" in err


def test_an_unknown_node(run: Run, answering: type[Answering]) -> None:
    answering.status = 404
    answering.body = b'{"error":{"code":"unknown_target","message":"No living node is named n9."}}'
    code, out, err = run("drain", "n9", "--url", answering.url)
    assert (code, out, sentence(err)) == (1, "", "No living node is named n9.")


@pytest.mark.parametrize("end", [NOBODY, nodes("ready", started_ms=2)])
def test_a_node_that_ends_on_the_way(run: Run, answering: type[Answering], end: bytes) -> None:
    answering.bodies += [nodes("draining"), end]
    code, _, err = run("drain", "n2", "--url", answering.url)
    assert code == 1
    assert sentence(err).startswith("n2 ended before it was drained")


def test_a_node_that_does_not_begin(run: Run, answering: type[Answering]) -> None:
    answering.body = nodes("ready")
    code, _, err = run("drain", "n2", "--url", answering.url)
    assert code == 1
    assert sentence(err).startswith("n2 does not begin to drain")


def test_a_node_in_between_may_fail_to_answer_for_a_moment(
    run: Run, answering: type[Answering]
) -> None:
    answering.bodies += [nodes("draining"), b"[]", b"[]", nodes("drained")]
    code, _, _ = run("drain", "n2", "--url", answering.url)
    assert code == 0


def test_without_a_node_to_ask(run: Run) -> None:
    code, _, err = run("drain", "n2", "--url", "http://127.0.0.1:1")
    assert code == 1
    assert "No node answers at" in sentence(err)
