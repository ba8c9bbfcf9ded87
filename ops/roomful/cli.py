"""The command `roomful`: what it is called with, and how it ends.

Whatever the person at the keyboard can mend is one sentence on stderr and exit code 1; wrong usage
is 2, as everywhere. A traceback is a bug.
"""

import sys
from functools import partial
from importlib.metadata import version as version_of
from pathlib import Path
from secrets import token_hex
from typing import Annotated, Any

import typer

from roomful import look, tables
from roomful.apps import load_app
from roomful.bench.command import bench
from roomful.check.command import check
from roomful.drain import drain
from roomful.failure import Failure
from roomful.flags import with_settings
from roomful.logs import configure
from roomful.loop import run
from roomful.serve import serve as run_node
from roomful.sources import load
from roomful.tail import tail
from roomful.workers.supervise import supervise
from roomful_nodes.node import Node
from roomful_rooms.kinds import Kinds

app = typer.Typer(
    name="roomful",
    help="Real-time rooms as actors on a cluster of nodes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config-file",
        envvar="ROOMFUL_CONFIG_FILE",
        help="Read this file instead of ./roomful.toml.",
    ),
]


@app.command()
@with_settings
def serve(config_file: ConfigFile = None, **flags: Any) -> None:
    """Run a node, with a broker of its own unless --nats names one."""
    config = load(_given(flags), config_file).config
    config = config.model_copy(update={"node_id": config.node_id or token_hex(4)})
    welcome = partial(_welcome, config.node.address)
    if config.workers > 1:
        configure(config.log_format, config.log_level, node=str(config.node_id))
        run(supervise(config, welcome))
    else:
        kinds = Kinds(load_app(config.app) if config.app else ())
        configure(config.log_format, config.log_level, node=str(config.node_id))
        run(run_node(config, kinds, welcome))


@app.command()
@with_settings
def config(config_file: ConfigFile = None, json: look.Json = False, **flags: Any) -> None:
    """Show every setting, and where its value came from."""
    tables.settings(load(_given(flags), config_file), as_json=json)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(version_of("roomful"))


look.add_commands(app)
app.command()(drain)
app.command()(tail)
app.command()(check)
app.command()(bench)


def main() -> None:
    """The entry point of `roomful` and `python -m roomful`."""
    try:
        app()
    except Failure as failure:
        typer.secho(str(failure), err=True, fg=typer.colors.RED)
        sys.exit(1)


def _given(flags: dict[str, Any]) -> dict[str, object]:
    return {name: value for name, value in flags.items() if value not in (None, [])}


def _welcome(address: str, *_: Node) -> None:
    """For people only: what starts a node by itself reads the log and asks /readyz."""
    if sys.stdout.isatty():
        typer.secho(f"Roomful is at http://{address}/ (Ctrl-C stops it)", bold=True)
