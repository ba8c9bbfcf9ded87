"""The command line's flags, made from the configuration: one for each setting."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, Final

import typer
from pydantic.fields import FieldInfo

from roomful.config import Config

# The heading in --help, from this setting on.
_HEADINGS: Final = {
    "host": "Node",
    "nats": "Broker",
    "anonymous": "Access",
    "heartbeat_s": "Clients and rooms",
    "limit_message_bytes": "Limits for a client",
    "log_format": "Logs",
}


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give `command` a flag for every setting; it gets all of them as `**flags`, None if absent.

    Values arrive as they were typed: `sources.load` checks all sources alike.
    """
    signature = inspect.signature(command)
    own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*own, *_parameters()]
    )
    return command


def _parameters() -> list[inspect.Parameter]:
    parameters = []
    heading = ""
    for name, field in Config.model_fields.items():
        heading = _HEADINGS.get(name, heading)
        option = typer.Option(
            _spelling(name, field),
            help=_help(field),
            rich_help_panel=heading,
            metavar=None if _is_switch(field) else _metavar(name, field),
            show_default=False,
        )
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[_typed(field), option],
            )
        )
    return parameters


def _spelling(name: str, field: FieldInfo) -> str:
    flag = name.replace("_", "-")
    return f"--{flag}/--no-{flag}" if _is_switch(field) else f"--{flag}"


def _help(field: FieldInfo) -> str:
    default = "" if field.default in (None, ()) else f" Default: {field.default}."
    return f"{field.description}{default}"


def _metavar(name: str, field: FieldInfo) -> str:
    if name.endswith("_s"):
        return "SECONDS" if "_per_" not in name else "NUMBER"
    return "NUMBER" if field.annotation is int else name.rpartition("_")[2].upper()


def _typed(field: FieldInfo) -> Any:
    if _is_switch(field):
        return bool | None
    return list[str] | None if field.default == () else str | None


def _is_switch(field: FieldInfo) -> bool:
    return field.annotation == bool | None
