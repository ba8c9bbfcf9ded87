"""The command line as it is called: what it prints, how it ends, and what it says in trouble."""

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import structlog
from tests.support.cluster import free_port
from tests.support.command_line import Run, sentence

from roomful.config import Config

SECRET = "x" * 32


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory to be in, help on wide lines, and logging as it was afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    yield tmp_path
    structlog.reset_defaults()


# -- settings --------------------------------------------------------------------------------------


def test_every_setting_is_a_flag(run: Run) -> None:
    code, out, _ = run("serve", "--help")
    assert code == 0
    for name in Config.model_fields:
        assert f"--{name.replace('_', '-')}" in out
    assert "Default: 8000." in out


def test_config_says_where_values_come_from(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOMFUL_ADMIN_TOKEN", "opensesame")
    monkeypatch.setenv("ROOMFUL_NATS", "nats://ann:hunter2@one:4222,nats://two:4222")
    code, out, _ = run("config", "--json", "--port", "9000", "--jwt-secret", SECRET)
    shown = json.loads(out)
    assert code == 0
    assert set(shown) == set(Config.model_fields)
    assert shown["port"] == {"value": 9000, "origin": "flag --port"}
    assert shown["admin_token"]["origin"] == "environment ROOMFUL_ADMIN_TOKEN"
    assert shown["nats"]["value"] == ["nats://****@one:4222", "nats://two:4222"]
    assert shown["lease_s"] == {"value": 5, "origin": "default"}
    assert shown["anonymous"]["value"] is False
    assert shown["jwt_algorithms"]["value"] == ["HS256"]
    for hidden in ("opensesame", "hunter2", SECRET):
        assert hidden not in out


def test_config_for_people(run: Run) -> None:
    _, out, _ = run("config", "--no-anonymous", "--allowed-origins", "a", "--allowed-origins", "b")
    assert re.search(r"anonymous +no +flag --anonymous", out)
    assert re.search(r"allowed_origins +a, b +flag", out)


def test_version(run: Run) -> None:
    assert run("version") == (0, f"{version('roomful')}\n", "")


# -- trouble ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["serve", "--port", "x"], "The setting port (flag --port) cannot be used"),
        (["serve", "--workers", "0"], "The setting workers (flag --workers) cannot be used"),
        (["serve", "--host", "::"], "Refusing to listen on :: for everybody"),
        (["serve", "--config-file", "none.toml"], "There is no configuration file none.toml"),
        (["serve", "--app", "none:X"], "There is no module none"),
        (["serve", "--nats", "nats//x"], "A server is given as nats://host:4222"),
        (["serve", "--nats", "nats://x:y"], "A server is given as nats://host:4222"),
        (["config", "--replicas", "9"], "The setting replicas (flag --replicas)"),
        (["nodes", "--url", "nonsense"], "must begin with http://"),
        (["tail", "x", "--since", "last:"], "must be a number, or last:N"),
    ],
)
def test_what_can_be_mended_is_one_sentence(run: Run, args: list[str], said: str) -> None:
    code, _, err = run(*args)
    assert code == 1
    assert said in sentence(err)


@pytest.mark.parametrize("args", [["serve", "--prot", "1"], ["members"], ["no-such-command"]])
def test_wrong_usage(run: Run, args: list[str]) -> None:
    code, _, err = run(*args)
    assert code == 2
    assert "Usage" in err


@pytest.mark.parametrize(
    "args", [["nodes"], ["rooms"], ["members", "x"], ["send", "x", "y"], ["tail", "x"]]
)
@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://no-such-host.invalid"])
def test_without_a_node(
    run: Run, monkeypatch: pytest.MonkeyPatch, args: list[str], url: str
) -> None:
    monkeypatch.setattr("roomful.tail.OPEN_S", 0.2)
    code, _, err = run(*args, "--url", url)
    assert code == 1
    assert f"No node answers at {url}" in sentence(err).replace("ws://", "http://")
    assert "roomful serve" in err


# -- against what answers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (404, b"<html>", "is not a node of Roomful"),
        (200, b"[]", "is not a node of Roomful"),
        (404, b"{}", "is not a node of Roomful"),
        (401, b'{"error":{"code":"unauthorized","message":"m"}}', "wants its admin token"),
        (503, b'{"error":{"code":"unavailable","message":"Try again."}}', "Try again."),
    ],
)
def test_a_node_that_does_not_answer_well(
    run: Run, answering: Any, status: int, body: bytes, said: str
) -> None:
    answering.status, answering.body = status, body
    code, _, err = run("nodes", "--url", answering.url)
    assert code == 1
    assert said in sentence(err)


def test_the_token_is_sent(run: Run, answering: Any) -> None:
    answering.body = b'{"rooms":[]}'
    assert run("rooms", "--match", "a b&c", "--url", answering.url, "--token", "opensesame")[0] == 0
    assert answering.seen == [("/api/rooms?match=a+b%26c", "Bearer opensesame")]


def test_names_cannot_move_the_cursor(run: Run, answering: Any) -> None:
    room = {"name": "\x1b[2Jevil\n", "members": 0, "seq": 1, "active_ms": 0, "owner": None}
    answering.body = json.dumps({"rooms": [{**room, "partition": 3}]}).encode()
    _, out, _ = run("rooms", "--url", answering.url)
    assert r"\x1b[2Jevil\n" in out
    assert "\x1b[2J" not in out


# -- a node of its own -----------------------------------------------------------------------------


@contextmanager
def roomful(*args: str) -> Iterator["subprocess.Popen[str]"]:
    """A process of its own, ended whatever happens."""
    with subprocess.Popen(
        [sys.executable, "-m", "roomful", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def failed(*args: str) -> str:
    """What the command says on stderr; it must end by itself with code 1."""
    with roomful(*args) as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1, err
    return sentence(err)


def line_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else has."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_port_that_is_taken(taken: int) -> None:
    assert failed("serve", "--port", str(taken)) == (
        f"Cannot listen on 127.0.0.1:{taken} (Address already in use):"
        " choose another --port or --host."
    )


def test_a_data_directory_that_is_none(project: Path) -> None:
    (project / "file").touch()
    assert "choose another with --data-dir" in failed("serve", "--data-dir", "file")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a node with a broker of its own; it ends well in the end."""
    port = free_port()
    folder = str(tmp_path_factory.mktemp("served"))
    options = ["--data-dir", folder, "--log-format", "json", "--drain-window-s", "0"]
    with roomful("serve", "--port", str(port), *options) as node:
        while json.loads(line_of(node))["event"] != "partitions.claimed":
            pass
        yield f"http://127.0.0.1:{port}"
        node.send_signal(signal.SIGTERM)
        out, err = node.communicate(timeout=30)
        assert (node.returncode, err) == (0, "")
        assert json.loads(out.splitlines()[-1])["event"] == "embedded.stopped"


def asked(served: str, *args: str) -> Any:
    """What `roomful ... --json` prints, one value for each line of it, or one for all."""
    out = subprocess.run(
        [sys.executable, "-m", "roomful", *args, "--url", served, "--json"],
        capture_output=True,
        check=True,
        timeout=30,
    ).stdout
    return [json.loads(line) for line in out.splitlines()] if args[0] == "tail" else json.loads(out)


def test_two_nodes_on_one_data_directory(served: str, tmp_path_factory: Any) -> None:
    used = next(tmp_path_factory.getbasetemp().glob("served*"))
    assert "Another node uses the data directory" in failed("serve", "--data-dir", str(used))


def test_a_node_is_looked_into(served: str) -> None:
    room = "ü/.. *"
    assert asked(served, "send", room, "hi", "--user", "bot")["seq"] == 1
    assert asked(served, "send", room, "again")["seq"] == 2
    assert [view["seq"] for view in asked(served, "rooms", "--match", "ü/*")] == [2]
    assert asked(served, "members", room)["count"] == 0
    assert [node["state"] for node in asked(served, "nodes")] == ["ready"]
    told = asked(served, "tail", room, "--no-follow")
    assert [(event["seq"], event["sender"]["user"]) for event in told] == [
        (1, "bot"),
        (2, "operator"),
    ]
    assert [e["seq"] for e in asked(served, "tail", room, "--no-follow", "--since", "1")] == [2]


def test_a_room_is_followed(served: str) -> None:
    asked(served, "send", "lobby", "before")
    with roomful("tail", "lobby", "--url", served) as follower:
        assert "#1 operator: before" in line_of(follower)
        assert "#2 * roomful tail joined (1 here)" in line_of(follower)
        asked(served, "send", "lobby", "after")
        assert "#3 operator: after" in line_of(follower)
        follower.send_signal(signal.SIGINT)
        assert follower.communicate(timeout=10) == ("", "")
        assert follower.returncode == 0
