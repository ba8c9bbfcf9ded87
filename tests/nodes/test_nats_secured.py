"""Servers that ask who one is, and show who they are: password, token, credentials, TLS."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.nats_server import NatsServer

from roomful_nodes import nats_connection
from roomful_nodes.nats_connection import BrokerError, NatsConnection

LEAN = pytest.mark.parametrize("lean", [True, False], ids=["lean", "plain"])
PASSWORD = 'authorization {{ user: "roomful", password: "{}" }}'


@contextmanager
def running(folder: Path, more: str) -> Iterator[NatsServer]:
    server = NatsServer(folder, jetstream=False, access="", more=more)
    server.start()
    try:
        yield server
    finally:
        server.close()


def made(folder: Path, name: str, *options: str) -> tuple[Path, Path]:
    """A key and a certificate for 127.0.0.1."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    command = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
        "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", str(key),
        "-out", str(certificate), *options,
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return key, certificate


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a CA, and a server's key and certificate signed by it."""
    folder = tmp_path_factory.mktemp("tls")
    ca_key, ca = made(folder, "ca")
    made(
        folder, "server", "-CA", str(ca), "-CAkey", str(ca_key),
        "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE",
    )  # fmt: skip
    return folder


@pytest.fixture
def encrypted(authority: Path, tmp_path: Path) -> Iterator[NatsServer]:
    more = f'tls {{ cert_file: "{authority}/server.pem", key_file: "{authority}/server.key" }}\n'
    with running(tmp_path, more + PASSWORD.format("s3cret")) as server:
        yield server


@LEAN
async def test_user_and_password_in_the_address(tmp_path: Path, lean: bool) -> None:
    with running(tmp_path, PASSWORD.format("p@ss")) as server:
        address = server.url.removeprefix("nats://")
        # As it is, without percent signs.
        url = f"nats://roomful:p@ss@{address}"
        async with await NatsConnection.open(url, name="test", lean=lean) as connection:
            assert connection.url == server.url
        with pytest.raises(BrokerError, match="Authorization") as refused:
            await NatsConnection.open(f"nats://roomful:wrong@{address}", name="test", lean=lean)
        assert "wrong" not in str(refused.value)


@LEAN
async def test_tls_with_an_authority_that_the_environment_names(
    encrypted: NatsServer, authority: Path, lean: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    url = encrypted.url.replace("nats://", "tls://roomful:s3cret@")
    async with await NatsConnection.open(url, name="test", lean=lean) as connection:
        assert connection.connected


@LEAN
async def test_tls_of_an_unknown_authority_is_refused(encrypted: NatsServer, lean: bool) -> None:
    url = encrypted.url.replace("nats://", "tls://roomful:s3cret@")
    with pytest.raises(BrokerError, match="certificate verify failed"):
        await NatsConnection.open(url, name="test", lean=lean, timeout_s=2)


async def test_credentials_say_what_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nats_connection, "find_spec", lambda _: None)
    file = str(tmp_path / "node.creds")
    with pytest.raises(BrokerError, match=r'pip install "nats-py\[nkeys\]"'):
        await NatsConnection.open("nats://127.0.0.1:1", name="test", credentials=file)
