"""Nodes that share one port, as the workers of one machine do: how any of them speaks for all.

The kernel gives each connection to one of them, so whoever asks for metrics reaches any. Therefore
each listens in a common folder, too, on a socket that bears its name; there the others ask it.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout, UnixConnector, web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from roomful_nodes.health import Handler
from roomful_protocol.errors import Code, Refused
from roomful_protocol.ids import NodeId

ANSWER_S: Final = 2.0
"""One that has not answered by then is left out."""
_SUFFIX: Final = ".sock"

log = structlog.get_logger()


class Siblings:
    """Those who listen in `folder`, as `me` sees them."""

    def __init__(self, folder: Path, me: NodeId) -> None:
        self._folder, self._me = folder, me
        self.socket = self._socket(me)

    def _socket(self, node: NodeId) -> Path:
        """Where `node` listens for its siblings."""
        return self._folder / f"{node}{_SUFFIX}"

    def leave(self) -> None:
        """The socket of this node is closed: let nobody look for it."""
        self.socket.unlink(missing_ok=True)

    def exposition(self, registry: CollectorRegistry) -> Handler:
        """The metrics of all, each with the label `node`; with `?node=`, those of one as they are.

        Raises Refused if there is no such one, or it does not answer.
        """

        async def metrics(request: web.Request) -> web.Response:
            node = request.query.get("node")
            if node == self._me:
                text = generate_latest(registry)
            elif node is not None:
                text = await self._one(node, request)
            else:
                own = {self._me: generate_latest(registry).decode()}
                text = merged(own | await self._others(request)).encode()
            return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

        return metrics

    async def _one(self, node: str, request: web.Request) -> bytes:
        if node not in self._names():
            raise Refused(Code.UNKNOWN_TARGET, f"No worker of this port is named {node}.")
        text = await self._asked(node, request)
        if text is None:
            raise Refused(Code.UNAVAILABLE, f"The worker {node} does not answer; try again soon.")
        return text

    async def _others(self, request: web.Request) -> dict[NodeId, str]:
        others = [node for node in self._names() if node != self._me]
        texts = await asyncio.gather(*(self._asked(node, request) for node in others))
        told = dict(zip(others, texts, strict=True))
        if missing := [node for node, text in told.items() if text is None]:
            log.warning("metrics.incomplete", missing=missing)
        return {node: text.decode() for node, text in told.items() if text is not None}

    def _names(self) -> list[NodeId]:
        return sorted(path.stem for path in self._folder.glob(f"*{_SUFFIX}"))

    async def _asked(self, node: NodeId, request: web.Request) -> bytes | None:
        """The metrics of a sibling, who lets in whom this node has let in; None if it is silent."""
        authorization = request.headers.get("Authorization")
        headers = {} if authorization is None else {"Authorization": authorization}
        try:
            async with (
                ClientSession(
                    connector=UnixConnector(str(self._socket(node))),
                    timeout=ClientTimeout(ANSWER_S),
                ) as http,
                http.get(
                    "http://localhost/metrics", params={"node": node}, headers=headers
                ) as response,
            ):
                response.raise_for_status()
                return await response.read()
        except (ClientError, TimeoutError, OSError):
            return None


def merged(texts: Mapping[NodeId, str]) -> str:
    """Expositions of several nodes as one: a metric's samples stand together, under one heading,
    and each bears the label `node`."""
    headings: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for node, text in texts.items():
        metric = ""
        for line in text.splitlines():
            if not line.startswith("# "):
                samples[metric].append(_labelled(line, node))
            elif line.startswith("# HELP "):
                metric = line.split(" ", 3)[2]
                headings[metric] = [line]
                samples.setdefault(metric, [])
            else:
                headings[metric].append(line)
    lines = (line for metric in headings for line in (*headings[metric], *samples[metric]))
    return "".join(f"{line}\n" for line in lines)


def _labelled(sample: str, node: NodeId) -> str:
    name, brace, rest = sample.partition("{")
    if brace:
        return f'{name}{{node="{node}",{rest}'
    name, _, value = sample.partition(" ")
    return f'{name}{{node="{node}"}} {value}'
