"""The commands that look into a running cluster: nodes, rooms, members, tail, send."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any
from uuid import uuid4

import typer

from roomful import tables
from roomful.operators_api import call, room_path

Url = Annotated[str, typer.Option("--url", envvar="ROOMFUL_URL", help="Any node of the cluster.")]
Token = Annotated[
    str | None, typer.Option("--token", envvar="ROOMFUL_TOKEN", help="The node's admin token.")
]
Json = Annotated[bool, typer.Option("--json", help="For machines.")]
RoomName = Annotated[str, typer.Argument(metavar="ROOM", show_default=False)]

HERE = "http://127.0.0.1:8000"


def nodes(url: Url = HERE, token: Token = None, json: Json = False) -> None:
    """List the living nodes of the cluster."""
    tables.nodes(_ask(call(url, token, "GET", "/api/nodes"))["nodes"], as_json=json)


def rooms(
    match: Annotated[str, typer.Option(help="Only names like this; * is anything.")] = "*",
    url: Url = HERE,
    token: Token = None,
    json: Json = False,
) -> None:
    """List the rooms of the cluster."""
    answer = _ask(call(url, token, "GET", "/api/rooms", match=match))
    tables.rooms(answer["rooms"], as_json=json)


def members(room: RoomName, url: Url = HERE, token: Token = None, json: Json = False) -> None:
    """List who is in a room."""
    answer = _ask(call(url, token, "GET", room_path(room, "members")))
    tables.members(answer, as_json=json)


def send(
    room: RoomName,
    text: Annotated[str, typer.Argument(metavar="TEXT", show_default=False)],
    type: Annotated[str, typer.Option(help="Type of the message.")] = "chat.message",
    user: Annotated[str, typer.Option(help="In whose name.")] = "operator",
    url: Url = HERE,
    token: Token = None,
    json: Json = False,
) -> None:
    """Say something in a room."""
    # The id makes the node's own retries take effect once.
    body = {"type": type, "data": {"text": text}, "user": user, "id": str(uuid4())}
    ack = _ask(call(url, token, "POST", room_path(room, "messages"), body))
    tables.ack(ack, as_json=json)


def add_commands(app: typer.Typer) -> None:
    for command in (nodes, rooms, members, send):
        app.command()(command)


def _ask(question: Coroutine[None, None, Any]) -> Any:
    return asyncio.run(question)
