"""`roomful drain NODE`: have a node give its rooms and clients to the others, and watch it."""

import asyncio
import re
import time
from typing import Annotated, Any, Final

import typer

from roomful import tables
from roomful.failure import Failure
from roomful.look import HERE, Json, Token, Url
from roomful.operators_api import call, drain_path

POLL_S: Final = 0.5
PATIENCE_S: Final = 15.0
"""So long the node that is asked may not answer, and the one to drain not begin, in seconds."""

_WINDOW: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)?")
_UNITS: Final = {None: 1, "s": 1, "m": 60, "h": 3600}

NodeId = Annotated[str, typer.Argument(metavar="NODE", show_default=False)]
Window = Annotated[
    str | None,
    typer.Option(
        help="Spread its clients over so long, as 30s or 5m.", show_default="its drain_window_s"
    ),
]


def drain(
    node: NodeId, window: Window = None, url: Url = HERE, token: Token = None, json: Json = False
) -> None:
    """Have a node give its rooms and clients to the others; return when it has none."""
    body = {"window_s": None if window is None else _seconds(window)}
    asyncio.run(_Drain(node, url, token, as_json=json).run(body))


def _seconds(window: str) -> float:
    found = _WINDOW.fullmatch(window)
    if found is None:
        raise typer.BadParameter(f"{window!r} is no time: give it as 30s or 5m.")
    return float(found[1]) * _UNITS[found[2]]


class _Drain:
    """One node's drain, as seen through the node at `url`."""

    def __init__(self, node: str, url: str, token: str | None, *, as_json: bool) -> None:
        self._node, self._url, self._token, self._as_json = node, url, token, as_json

    async def run(self, body: object) -> None:
        """Order it, and print how far it is until it is done. Raises Failure."""
        await call(self._url, self._token, "POST", drain_path(self._node), body)
        ordered, shown = time.monotonic(), None
        while shown is None or shown["state"] != "drained":
            view = await self._view()
            life = None if view is None else view["started_ms"]
            if view is None or (shown is not None and life != shown["started_ms"]):
                raise Failure(
                    f"{self._node} ended before it was drained: its rooms go on at other nodes."
                )
            if view["state"] == "ready":
                if time.monotonic() - ordered > PATIENCE_S:
                    raise Failure(f"{self._node} does not begin to drain: look at its log.")
            elif view != shown:
                tables.drained(view, as_json=self._as_json)
                shown = view
            await asyncio.sleep(POLL_S)

    async def _view(self) -> Any | None:
        """What the cluster knows of the node, None if it knows none; patient, as the node that is
        asked may be restarted meanwhile."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = await call(self._url, self._token, "GET", "/api/nodes")
            except Failure:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(POLL_S)
            else:
                nodes = answer["nodes"]
                return next((node for node in nodes if node["id"] == self._node), None)
