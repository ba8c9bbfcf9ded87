"""Which source wins, where a value is said to come from, and what a refusal tells."""

from pathlib import Path

import pytest

from roomful.failure import Failure
from roomful.sources import load


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_nothing_said_is_all_defaults() -> None:
    loaded = load({})
    assert loaded.config.port == 8000
    assert loaded.origins == {}


def test_flags_over_environment_over_file(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "roomful.toml").write_text('port = 1\ngrace_s = 2\nprefix = "file"\n')
    monkeypatch.setenv("ROOMFUL_PORT", "10")
    monkeypatch.setenv("ROOMFUL_GRACE_S", "20")
    loaded = load({"port": "100"})
    assert (loaded.config.port, loaded.config.grace_s, loaded.config.prefix) == (100, 20, "file")
    assert loaded.origins == {
        "port": "flag --port",
        "grace_s": "environment ROOMFUL_GRACE_S",
        "prefix": "file roomful.toml",
    }


def test_lists_in_every_source(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = ("nats://a", "nats://b")
    (project / "roomful.toml").write_text('nats = ["nats://a", "nats://b"]')
    assert load({}).config.nats == expected
    monkeypatch.setenv("ROOMFUL_NATS", "nats://a, nats://b")
    assert load({}).config.nats == expected
    assert load({"nats": ["nats://a", "nats://b"]}).config.nats == expected


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOMFUL_ADMIN_TOKEN", "")
    assert load({}).config.admin_token is None


def test_another_file(project: Path) -> None:
    (project / "other.toml").write_text("port = 7")
    assert load({}, project / "other.toml").config.port == 7
    with pytest.raises(Failure, match="There is no configuration file"):
        load({}, project / "missing.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("port = ", "roomful.toml is not valid TOML"),
        ("prot = 1", r"There is no setting prot \(file roomful.toml\)"),
        ('port = "x"', r"The setting port \(file roomful.toml\) cannot be used: .*; got 'x'"),
    ],
)
def test_a_bad_file_is_named(project: Path, text: str, said: str) -> None:
    (project / "roomful.toml").write_text(text)
    with pytest.raises(Failure, match=said):
        load({})


def test_a_refused_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOMFUL_JWT_SECRET", "hunter2")
    with pytest.raises(Failure, match="ROOMFUL_JWT_SECRET") as refused:
        load({})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("host", ["::", "192.168.1.5", "chat.example.org"])
def test_nobody_is_let_in_from_outside_by_accident(host: str) -> None:
    with pytest.raises(Failure, match="Refusing to listen"):
        load({"host": host})
    assert load({"host": host, "anonymous": True}).config.node.anonymous
    assert not load({"host": host, "jwt_secret": "s" * 32}).config.node.anonymous


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"replicas": "3"}, "The embedded broker keeps one copy"),
        ({"nats_sync_s": "0"}, "The embedded broker has a sync interval of its own"),
        ({"jwt_algorithms": ["RS256"], "jwt_secret": "s" * 32}, "RS256 cannot be verified"),
        (
            {"jwt_algorithms": ["HS256"], "jwt_public_key": "-----BEGIN PUBLIC KEY-----"},
            "HS256 cannot be verified",
        ),
        ({"workers": "10", "node_id": "n" * 30}, "n{30} is too long to have the number of a"),
    ],
)
def test_settings_that_do_not_go_together(flags: dict[str, object], said: str) -> None:
    with pytest.raises(Failure, match=said):
        load(flags)


def test_workers_share_a_port_on_linux_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert load({"workers": "1"}).config.workers == 1
    with pytest.raises(Failure, match="need Linux"):
        load({"workers": "2"})
