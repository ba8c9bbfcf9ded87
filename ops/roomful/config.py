"""Everything an operator can set: names, types, defaults, and what it becomes for the node.

Every setting has one name: `--drain-window-s`, `ROOMFUL_DRAIN_WINDOW_S` and `drain_window_s` in
`roomful.toml` are the same. The command line makes its flags from this model, so nothing can be
set in one place and not in another.
"""

import os
from json import dumps, loads
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from roomful.cores import usable_cores
from roomful_nodes.settings import DEFAULT_PORT, AuthSettings, NodeSettings, is_loopback
from roomful_protocol.frames import Limits

PREFIX: Final = "ROOMFUL_"
NODE_ID: Final = 32
"""Characters that a node's name may have."""

# A list is given with commas in the environment, repeated as a flag, and as an array in the file.
Listed = Annotated[tuple[str, ...], NoDecode]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

SHARED_SECRET: Final = ("HS256", "HS384", "HS512")
KEY_PAIR: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip


def environment() -> dict[str, str]:
    """That of this process, without what configures a node: for nodes that are set up otherwise."""
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


class Config(BaseSettings):
    """What an operator can set. `None` stands for a default that depends on other settings."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(DEFAULT_PORT, ge=1, le=65535, description="Port to listen on.")
    workers: int = Field(
        1, ge=1, le=256, description="Nodes on this port, one process each; auto is one a core."
    )
    app: str | None = Field(None, description="Your rooms, as module:object.")
    data_dir: Path = Field(Path(".roomful"), description="Where the embedded broker stores rooms.")
    node_id: str | None = Field(
        None,
        pattern=rf"^[a-z0-9]{{1,{NODE_ID}}}$",
        description="Name of this node; unique in the cluster.",
    )

    nats: Listed = Field((), description="NATS servers to use; none starts an embedded one.")
    nats_token: SecretStr | None = Field(None, description="Token for these servers.")
    nats_creds: Path | None = Field(None, description="Credentials file for these servers.")
    nats_sync_s: float | None = Field(
        None, ge=0, description="Their sync_interval in seconds, 0 for always; told to clients."
    )
    nats_incarnation: str | None = Field(
        None, pattern=r"^[a-z0-9]{1,16}$", description="A new name after an old store was put back."
    )
    prefix: str = Field(
        "rf", pattern=r"^[A-Za-z0-9_-]+$", description="First part of every subject; one a cluster."
    )
    replicas: int = Field(1, ge=1, le=5, description="Copies of each log the brokers keep.")
    lease_s: Seconds | None = Field(
        None, ge=2, description="How long a silent node is believed in; 5, or 15 with replicas."
    )
    probe_s: float = Field(
        0.2, ge=0.02, le=5, description="Pause between pings; a dead node is noticed after four."
    )

    anonymous: bool | None = Field(
        None, description="Let clients in without a token; only on loopback unless said."
    )
    jwt_secret: SecretStr | None = Field(None, description="Verifies tokens signed with HS256.")
    jwt_public_key: str | None = Field(None, description="Verifies tokens; PEM, or a file of it.")
    jwt_algorithms: Listed = Field((), description="Accepted algorithms; those of the keys.")
    admin_token: SecretStr | None = Field(
        None, description="Opens the operators' API and /metrics beyond loopback."
    )
    allowed_origins: Listed = Field(
        (), description="Pages that may connect, as scheme://host; * is any, none the same host."
    )

    heartbeat_s: Seconds = Field(25, description="Pause between pings to a client.")
    grace_s: float = Field(15, ge=0, description="How long a vanished client may come back.")
    idle_s: Seconds = Field(300, description="After how long an unused room leaves memory.")
    drain_window_s: float = Field(5, ge=0, description="Time over which clients are sent away.")
    handler_timeout_s: Seconds = Field(10, description="Limit for one handler of a room.")
    request_timeout_s: Seconds = Field(10, description="How long a client's command is retried.")
    mailbox: int = Field(1024, ge=1, description="Commands that may wait for one room.")
    limit_message_bytes: int = Field(65_536, ge=256, le=262_144, description="Largest message.")
    limit_messages_per_s: Seconds = Field(50, description="Messages a client may send, sustained.")
    limit_burst: int = Field(100, ge=1, description="Messages a client may send at once.")
    limit_rooms: int = Field(128, ge=1, description="Rooms a client may be in at once.")
    limit_connects_per_s: Seconds = Field(500, description="Clients let in, sustained.")

    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="How to log; auto is console on a terminal, else json."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="What to log."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # `sources.load` merges them itself: it remembers which of them each value came from.
        return (init_settings,)

    @field_validator("nats", "jwt_algorithms", "allowed_origins", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        parts = [value] if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            return value
        return tuple(item.strip() for part in parts for item in str(part).split(",") if item)

    @field_validator("nats")
    @classmethod
    def _reachable(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            if not _is_server(url):
                raise ValueError("A server is given as nats://host:4222")
        return urls

    @field_validator("workers", mode="before")
    @classmethod
    def _one_a_core(cls, value: object) -> object:
        return usable_cores() if value == "auto" else value

    @field_validator("jwt_secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value().encode()) < 32:
            raise ValueError("A secret needs at least 32 bytes to be safe")
        return secret

    @field_validator("jwt_public_key")
    @classmethod
    def _pem(cls, key: str | None) -> str | None:
        if key is None or key.startswith("-----BEGIN"):
            return key
        try:
            return Path(key).read_text()
        except OSError as error:
            raise ValueError(f"Cannot read the key file {key}: {error.strerror}") from None

    @field_validator("jwt_algorithms")
    @classmethod
    def _known(cls, algorithms: tuple[str, ...]) -> tuple[str, ...]:
        for name in algorithms:
            if name not in SHARED_SECRET + KEY_PAIR:
                raise ValueError(f"{name} is no algorithm that can be trusted here")
        return algorithms

    @property
    def auth(self) -> AuthSettings:
        default = (*(SHARED_SECRET[:1] if self.jwt_secret else ()),
                   *(("RS256", "ES256", "EdDSA") if self.jwt_public_key else ()))  # fmt: skip
        return AuthSettings(
            secret=_plain(self.jwt_secret),
            public_key=self.jwt_public_key,
            algorithms=self.jwt_algorithms or default,
        )

    @property
    def node(self) -> NodeSettings:
        """The same for the layer below, with what was left open decided."""
        return NodeSettings(
            host=self.host,
            port=self.port,
            anonymous=self._anonymous(),
            auth=self.auth,
            admin_token=_plain(self.admin_token),
            allowed_origins=self.allowed_origins,
            heartbeat_s=self.heartbeat_s,
            grace_s=self.grace_s,
            limits=Limits(
                message_bytes=self.limit_message_bytes,
                messages_per_s=self.limit_messages_per_s,
                burst=self.limit_burst,
                rooms=self.limit_rooms,
            ),
            limit_connects_per_s=self.limit_connects_per_s,
            lease_s=self.lease_s or (5 if self.replicas == 1 else 15),
            probe_s=self.probe_s,
            replicas=self.replicas,
            prefix=self.prefix,
            idle_s=self.idle_s,
            drain_window_s=self.drain_window_s,
            node_id=self.node_id,
            handler_timeout_s=self.handler_timeout_s,
            mailbox=self.mailbox,
            request_timeout_s=self.request_timeout_s,
        )

    @property
    def worker_ids(self) -> tuple[str, ...]:
        """What the nodes are called that share the port."""
        return tuple(f"{self.node_id}w{number}" for number in range(1, self.workers + 1))

    def on(self, url: str, token: str, sync_s: float) -> "Config":
        """The same with a broker that is there."""
        broker = {"nats": (url,), "nats_token": SecretStr(token), "nats_sync_s": sync_s}
        return self.model_copy(update=broker)

    def packed(self) -> str:
        """All of it, secrets included, for another process of ours."""
        return dumps(self.model_dump(exclude_none=True), default=_bare)

    @classmethod
    def unpacked(cls, packed: str) -> "Config":
        return cls.model_validate(loads(packed))

    def _anonymous(self) -> bool:
        # With tokens configured a node on loopback stands behind a proxy: nobody is anonymous.
        if self.anonymous is None:
            return is_loopback(self.host) and not self.auth.enabled
        return self.anonymous


def _bare(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _is_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("nats", "tls", "ws", "wss")
        return known and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def secret(name: str) -> bool:
    """Whether the setting's value must not be shown."""
    return name in ("nats_token", "jwt_secret", "admin_token")
