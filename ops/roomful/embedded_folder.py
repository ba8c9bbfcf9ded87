"""Where an embedded nats-server keeps its things: lock, token, port, configuration, log, store."""

import fcntl
import os
import socket
from contextlib import suppress
from json import dumps
from pathlib import Path
from secrets import token_hex
from typing import Final

from roomful.embedded_marker import Marker
from roomful.failure import Failure
from roomful_nodes.nats_keeping import embedded_name

SYNC_S: Final = 0.1
"""How often the server brings what it has acknowledged to disk."""
LOG_BYTES: Final = 8 * 2**20
LOG_FILES: Final = 3

_CONFIGURATION: Final = """\
# Written by Roomful at each start; changes are lost.
server_name: "{name}"
listen: "127.0.0.1:{port}"
http: "127.0.0.1:-1"
# Monitoring asks for no token: who does not know this path gets nowhere.
http_base_path: {hidden}
ports_file_dir: {folder}
logfile: {log}
logfile_size_limit: {log_bytes}
logfile_max_num: {log_files}
authorization {{ token: {token} }}
jetstream {{
  store_dir: {store}
  # What the last moment has written may be lost when the machine loses power.
  sync_interval: "{sync_ms}ms"
  # The disk is the limit. The server's own would be a part of what is free when it starts, however
  # much the store holds by then.
  max_file: 100TB
}}
"""


class EmbeddedError(Failure):
    """The embedded nats-server cannot run."""


class Folder:
    """`<data directory>/nats`. Made by `open`, which also locks it; `close` unlocks."""

    def __init__(self, path: Path, lock: int, marker: Marker) -> None:
        self.path = path
        self.lock = lock
        self.marker = marker
        self.configuration = path / "nats.conf"
        self.log = path / "nats.log"
        self.complaints = path / "nats.err"
        self.store = path / "store"

    @classmethod
    def open(cls, data_dir: Path) -> "Folder":
        """Raises EmbeddedError if it cannot be written, BlockingIOError if another node has it."""
        path = (data_dir / "nats").absolute()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unwritable(data_dir, error) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise
        try:
            marker = Marker(path / "incarnation", path / "store")
        except OSError as error:
            os.close(lock)
            raise unwritable(data_dir, error) from None
        return cls(path, lock, marker)

    def close(self) -> None:
        """Unlock, unless a server that was given the lock, too, still runs."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1

    def token(self) -> str:
        """The secret that clients of the server show: made once, begins with a letter.

        (The server reads a token that looks like a number as one, and then refuses to start.)
        """
        path = self.path / "token"
        with suppress(FileNotFoundError):
            if token := path.read_text().strip():
                return token
        token = f"rf{token_hex(24)}"
        _write_private(path, token)
        return token

    def hidden_path(self) -> str:
        """The first part of the paths of the server's monitoring."""
        return f"/{self.token()}"

    def last_port(self) -> int | None:
        """The port of the last time, if it is free, so that other nodes find the broker again."""
        try:
            port = int((self.path / "port").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return port if is_free(port) else None

    def remember_port(self, port: int) -> None:
        (self.path / "port").write_text(f"{port}\n")

    def configure(self, port: int) -> None:
        """Write the server's configuration; port -1 lets it choose one."""
        text = _CONFIGURATION.format(
            name=embedded_name(self.marker.incarnation),
            sync_ms=round(SYNC_S * 1000),
            port=port,
            hidden=_quoted(self.hidden_path()),
            folder=_quoted(self.path),
            log=_quoted(self.log),
            log_bytes=LOG_BYTES,
            log_files=LOG_FILES,
            token=_quoted(self.token()),
            store=_quoted(self.store),
        )
        _write_private(self.configuration, text)
        for stale in self.path.glob("*.ports"):
            stale.unlink(missing_ok=True)

    def ports_file(self, pid: int) -> Path:
        """Where the server writes its addresses once it listens."""
        return self.path / f"nats-server_{pid}.ports"

    def last_words(self) -> str:
        """What the server complained of last: the newest error in its log, or its newest line."""
        lines: list[str] = []
        for path in (self.complaints, self.log):
            with suppress(FileNotFoundError):
                lines += path.read_text(errors="replace").splitlines()
        grave = [line for line in lines if "[FTL]" in line or "[ERR]" in line]
        return (grave or lines or ["nothing"])[-1].strip()


def unwritable(data_dir: Path, error: OSError) -> EmbeddedError:
    """What to say when the disk is full or not ours."""
    return EmbeddedError(
        f"The data directory {data_dir} cannot be written ({error.strerror}); "
        "choose another with --data-dir."
    )


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _write_private(path: Path, text: str) -> None:
    """Replace a file by one that only its owner may read."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    fresh.replace(path)


def _quoted(value: Path | str) -> str:
    """A string of the server's configuration language, which escapes as JSON does."""
    return dumps(str(value), ensure_ascii=False)
