"""Where settings come from: flags, then the environment, then a file, then the defaults."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Final

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from roomful.config import KEY_PAIR, NODE_ID, PREFIX, SHARED_SECRET, Config, secret
from roomful.failure import Failure
from roomful_nodes.settings import is_loopback

FILE: Final = "roomful.toml"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and for each setting that is not a default where it came from."""

    config: Config
    origins: Mapping[str, str]


def load(flags: Mapping[str, object], file: Path | None = None) -> Loaded:
    """Merge `flags` (those given), the environment, `file` (or ./roomful.toml) and the defaults.

    Raises Failure naming the setting, where its value came from and what is wrong with it.
    """
    merged: dict[str, object] = {}
    origins: dict[str, str] = {}
    in_file = _file(file)
    for origin, values in (
        ("flag --{dashed}", flags),
        (f"environment {PREFIX}{{upper}}", EnvSettingsSource(Config)()),
        (f"file {file or FILE}", in_file),
    ):
        for name, value in values.items():
            if name not in merged:
                merged[name] = value
                origins[name] = origin.format(dashed=name.replace("_", "-"), upper=name.upper())
    try:
        config = Config.model_validate(merged)
    except ValidationError as invalid:
        raise Failure(_explained(invalid, origins)) from None
    _check(config)
    return Loaded(config, origins)


def _file(file: Path | None) -> Mapping[str, object]:
    path = file or Path(FILE)
    if file is not None and not file.is_file():
        raise Failure(f"There is no configuration file {file}: check --config-file.")
    try:
        return TomlConfigSettingsSource(Config, path).toml_data
    except TOMLDecodeError as error:
        raise Failure(f"{path} is not valid TOML: {error}. Mend that line.") from None
    except OSError as error:
        raise Failure(f"Cannot read {path}: {error.strerror}. Check its permissions.") from None


def _explained(invalid: ValidationError, origins: Mapping[str, str]) -> str:
    """One line for each setting that is wrong, naming it and its origin."""
    lines = []
    for error in invalid.errors(include_url=False, include_context=False):
        name = str(error["loc"][0])
        origin = origins.get(name, "default")
        if error["type"] == "extra_forbidden":
            lines.append(f"There is no setting {name} ({origin}): `roomful config` lists them all.")
        else:
            said = error["msg"].removeprefix("Value error, ")
            # Addresses of servers may hold passwords.
            hidden = secret(name) or "@" in str(error["input"])
            got = "" if hidden else f"; got {error['input']!r}"
            lines.append(f"The setting {name} ({origin}) cannot be used: {said}{got}.")
    return "\n".join(lines)


def _check(config: Config) -> None:
    """The rules that bind several settings. Raises Failure."""
    auth = config.auth
    if not (is_loopback(config.host) or auth.enabled or config.anonymous):
        raise Failure(
            f"Refusing to listen on {config.host} for everybody: set --jwt-secret or"
            " --jwt-public-key so that clients must identify themselves, or say --anonymous."
        )
    if config.replicas > 1 and not config.nats:
        raise Failure(
            f"The embedded broker keeps one copy, not {config.replicas}: name the servers of a"
            " NATS cluster with --nats, or leave --replicas at 1."
        )
    if config.nats_sync_s is not None and not config.nats:
        raise Failure(
            "The embedded broker has a sync interval of its own: --nats-sync-s says that of the"
            " servers named with --nats."
        )
    _check_workers(config)
    verifiable = (SHARED_SECRET if auth.secret else ()) + (KEY_PAIR if auth.public_key else ())
    for name in config.jwt_algorithms:
        if name not in verifiable:
            raise Failure(
                f"Tokens signed with {name} cannot be verified: HS* needs --jwt-secret,"
                " the others need --jwt-public-key."
            )


def _check_workers(config: Config) -> None:
    if config.workers == 1:
        return
    if sys.platform != "linux":
        raise Failure(
            "Several workers on one port need Linux, which spreads connections over them: start"
            " nodes with a --port each, behind a proxy."
        )
    if len(max(config.worker_ids, key=len)) > NODE_ID:
        raise Failure(
            f"The node id {config.node_id} is too long to have the number of a worker added: choose"
            " a shorter --node-id."
        )
