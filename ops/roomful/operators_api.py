"""The operators' API of a node, as the command line calls it."""

from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from roomful.failure import Failure

TIMEOUT_S = 20.0


async def call(
    url: str, token: str | None, method: str, path: str, body: object = None, **query: object
) -> Any:
    """What the node at `url` answers. Raises Failure if it refuses, or if there is none."""
    if not url.startswith(("http://", "https://")):
        raise Failure(f"--url {url} must begin with http:// or https://.")
    parameters = {name: str(value) for name, value in query.items() if value is not None}
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        # Encoded by the caller: a room may be named ".." and must not become a folder's parent.
        target = URL(url.rstrip("/") + path, encoded=True)
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT_S)) as http,
            http.request(
                method, target.extend_query(parameters), json=body, headers=headers
            ) as response,
        ):
            answer = await response.json()
            if response.status >= 400:
                raise _refused(answer["error"])
            if not isinstance(answer, dict):
                raise TypeError(answer)
            return answer
    except (aiohttp.ContentTypeError, KeyError, TypeError, ValueError):
        raise Failure(f"What answers at {url} is not a node of Roomful: check --url.") from None
    except (aiohttp.ClientError, TimeoutError, OSError):
        raise Failure(
            f"No node answers at {url}: start one with `roomful serve`, or name another with --url."
        ) from None


def drain_path(node: str) -> str:
    """Where a node is told to drain."""
    return f"/api/nodes/{quote(node, safe='')}/drain"


def room_path(room: str, rest: str) -> str:
    """The path of something in a room, whatever characters are in its name."""
    return f"/api/rooms/{quote(room, safe='')}/{rest}"


def _refused(error: dict[str, Any]) -> Failure:
    if error["code"] == "unauthorized":
        return Failure("The node wants its admin token: give --token, or set ROOMFUL_TOKEN.")
    return Failure(str(error["message"]))
