"""`roomful tail ROOM`: what was said in a room, and what is being said."""

import asyncio
import json as json_of
import sys
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict
from logging import WARNING
from typing import Annotated, Any, Final

import structlog
import typer

from roomful.failure import Failure
from roomful.look import HERE, Json, RoomName, Token, Url
from roomful.operators_api import call, room_path
from roomful.tables import printable
from roomful_client import Client, Event, Gap, Message, Presence, RoomfulError
from roomful_client.events import event_of

OPEN_S: Final = 5.0
PAGE: Final = 500
"""Events that a node returns at once."""

Since = Annotated[
    str, typer.Option(help="Begin after this seq, or with the last N events as last:N.")
]
Follow = Annotated[
    bool, typer.Option(help="Stay, as a member of the room; else ask the operators' API, unseen.")
]
ClientToken = Annotated[
    str | None,
    typer.Option(envvar="ROOMFUL_CLIENT_TOKEN", help="With --follow: a client's token (JWT)."),
]


def tail(
    room: RoomName,
    since: Since = "last:20",
    follow: Follow = True,
    client_token: ClientToken = None,
    url: Url = HERE,
    token: Token = None,
    json: Json = False,
) -> None:
    """Print the events of a room, and go on as they happen."""
    start = _start(since)
    events = _follow(url, client_token, room, start) if follow else _past(url, token, room, start)
    with suppress(KeyboardInterrupt):
        asyncio.run(_print(events, as_json=json))


def _start(since: str) -> int | str:
    _, last, count = since.partition("last:")
    if since.isdecimal():
        return int(since)
    if last and count.isdecimal():
        return since
    raise Failure(f"--since {since} must be a number, or last:N as in last:20.")


async def _print(events: AsyncIterator[Event], *, as_json: bool) -> None:
    async for event in events:
        kind = {"event": type(event).__name__.lower()}
        line = (
            json_of.dumps({**kind, **asdict(event)}, ensure_ascii=False, default=str)
            if as_json
            else printable(told(event))
        )
        typer.echo(line)
        # A pipe would keep lines back until there are thousands of bytes.
        sys.stdout.flush()


async def _follow(url: str, token: str | None, room: str, since: int | str) -> AsyncIterator[Event]:
    # The client logs how it comes back; here only what it cannot mend is of interest.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(WARNING),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    try:
        async with Client(url, name="roomful tail", token=token, open_s=OPEN_S) as client:
            async for event in await client.join(room, since=since):
                yield event
    except RoomfulError as refused:
        raise Failure(_why(refused)) from None


def _why(refused: RoomfulError) -> str:
    if refused.code == "unauthorized":
        return "The node wants a client's token to follow a room: give --client-token."
    if refused.code == "unreachable":
        return f"{refused.message}. Start a node with `roomful serve`, or give another --url."
    return refused.message


async def _past(url: str, token: str | None, room: str, since: int | str) -> AsyncIterator[Event]:
    query: dict[str, Any] = {"after": since, "limit": PAGE}
    if isinstance(since, str):
        query = {"limit": min(int(since.removeprefix("last:")), PAGE)}
    while True:
        page = await call(url, token, "GET", room_path(room, "events"), **query)
        for frame in page["events"]:
            yield event_of(frame)
        if not (page["more"] and "after" in query and page["events"]):
            return
        query["after"] = page["events"][-1]["seq"]


def told(event: Event) -> str:
    """One event as one line."""
    match event:
        case Gap(first=first, last=last, reason=reason):
            return f"-------- {first} to {last} are missing: {reason}"
        case Presence(seq=seq, ts=ts, joined=joined, left=left, count=count):
            changes = [f"{person.name} joined" for person in joined]
            changes += [f"{person.name} left" for person in left]
            return f"{_at(ts)} #{seq} * {', '.join(changes) or 'presence'} ({count} here)"
        case Message(type=type, data=data, sender=sender, seq=seq, ts=ts):
            who = sender.name if sender else "*"
            number = "~" if seq is None else f"#{seq}"
            return f"{_at(ts)} {number} {who}: {_said(type, data)}"


def _said(type: str, data: Any) -> str:
    if type == "chat.message" and isinstance(data, dict) and isinstance(data.get("text"), str):
        return str(data["text"])
    return f"{type} {json_of.dumps(data, ensure_ascii=False, default=str)}"


def _at(ts: int | None) -> str:
    return time.strftime("%H:%M:%S", time.localtime(None if ts is None else ts / 1000))
