"""What settings become for the node, and which are refused by themselves."""

from dataclasses import fields
from pathlib import Path

import pytest
from pydantic import ValidationError

from roomful.config import Config
from roomful_nodes.settings import NodeSettings, is_loopback

SECRET = "s" * 32
PEM = "-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----\n"


def config(**values: object) -> Config:
    return Config.model_validate(values)


def test_the_defaults_are_those_of_the_node() -> None:
    assert config().node == NodeSettings()


def test_every_setting_of_a_node_can_be_set() -> None:
    grouped = {"auth": "jwt_secret", "limits": "limit_rooms"}
    for field in fields(NodeSettings):
        if field.name == "siblings":
            continue  # Workers meet where their supervisor says.
        assert grouped.get(field.name, field.name) in Config.model_fields


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Config.model_fields.values())


@pytest.mark.parametrize(
    ("given", "anonymous"),
    [
        ({}, True),
        ({"host": "::1"}, True),
        ({"host": "::"}, False),
        ({"host": "::", "anonymous": True}, True),
        ({"jwt_secret": SECRET}, False),
        ({"jwt_secret": SECRET, "anonymous": True}, True),
        ({"anonymous": False}, False),
    ],
)
def test_anonymous_clients_only_where_nobody_else_can_come(
    given: dict[str, object], anonymous: bool
) -> None:
    assert config(**given).node.anonymous is anonymous


@pytest.mark.parametrize(("replicas", "lease_s"), [(1, 5), (3, 15)])
def test_a_replicated_cluster_is_patient(replicas: int, lease_s: float) -> None:
    assert config(replicas=replicas).node.lease_s == lease_s
    assert config(replicas=replicas, lease_s=7).node.lease_s == 7


def test_algorithms_follow_the_keys() -> None:
    assert config().auth.algorithms == ()
    assert config(jwt_secret=SECRET).auth.algorithms == ("HS256",)
    assert config(jwt_public_key=PEM).auth.algorithms == ("RS256", "ES256", "EdDSA")
    assert config(jwt_public_key=PEM, jwt_algorithms="ES256, RS256").auth.algorithms == (
        "ES256",
        "RS256",
    )


def test_a_public_key_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(PEM)
    assert config(jwt_public_key=str(tmp_path / "key.pem")).auth.public_key == PEM


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("port", 70_000, "less than or equal to 65535"),
        ("port", "tcp://10.0.0.1:8000", "valid integer"),
        ("jwt_secret", "short", "at least 32 bytes"),
        ("jwt_public_key", "/no/such/file", "Cannot read the key file /no/such/file"),
        ("jwt_algorithms", "none", "none is no algorithm"),
        ("node_id", "a-b", "pattern"),
        ("prefix", "a.b", "pattern"),
        ("heartbeat_s", 0, "greater than 0"),
        ("heartbeat_s", "inf", "finite"),
        ("nats", 7, "tuple"),
        ("log_format", "xml", "auto"),
        ("nonsense", 1, "Extra inputs"),
    ],
)
def test_what_cannot_be_used_is_refused(name: str, value: object, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        config(**{name: value})


def test_secrets_do_not_show() -> None:
    loud = config(jwt_secret=SECRET, admin_token="opensesame", nats_token="opensesame")
    assert "opensesame" not in repr(loud)
    assert SECRET not in repr(loud)
    assert "opensesame" not in repr(loud.node)
    assert SECRET not in repr(loud.node)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LocalHost.", True),
        ("10.0.0.1", False),
        ("::", False),
        ("", False),
        ("example.org", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
    ],
)
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_it_reaches_another_process_whole(tmp_path: Path) -> None:
    given = config(
        jwt_secret=SECRET, jwt_public_key=PEM, admin_token="opensesame", nats=["nats://a:4222"],
        data_dir=tmp_path, anonymous=False, workers=3, node_id="n", nats_sync_s=0,
    )  # fmt: skip
    assert Config.unpacked(given.packed()) == given
    assert Config.unpacked(config().packed()) == config()
    assert given.worker_ids == ("nw1", "nw2", "nw3")


def test_one_worker_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roomful.config.usable_cores", lambda: 6)
    assert config(workers="auto").workers == 6
    assert config(workers="4").workers == 4
