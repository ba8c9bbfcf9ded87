"""The operators' side of a node over HTTP: health, metrics, and a look into the rooms.

    GET  /healthz  /readyz                     open
    GET  /metrics  /api/nodes  /api/rooms      for operators (`access`)
    POST /api/nodes/{node}/drain               {"window_s"?}
    GET  /api/rooms/{room}/members
    GET  /api/rooms/{room}/events?before=&after=&limit=
    POST /api/rooms/{room}/messages            {"type", "data", "user"?, "id"?} -> ack

A refusal is {"error": {"code", "message", "retry"}}, as on the WebSocket.
"""

from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Final

from aiohttp import web
from msgspec import structs

from roomful_nodes.access import Access
from roomful_nodes.health import (
    Handler,
    alive,
    json_response,
    raw_json_response,
    ready,
)
from roomful_nodes.operations import Operations
from roomful_nodes.settings import NodeSettings
from roomful_protocol import frames
from roomful_protocol.codecs.inbound import HISTORY
from roomful_protocol.codecs.json import JSON, dumps, loads
from roomful_protocol.errors import Code, Refused
from roomful_protocol.ids import RoomName, checked_room, checked_user
from roomful_protocol.messages import (
    Accepted,
    Answer,
    Denied,
    Entries,
    Listing,
    Read,
    Say,
    Who,
    refused,
)
from roomful_rooms.log import Unavailable

DAY_S: Final = 86_400

_STATUS: Final = {
    Code.BAD_FRAME: 400,
    Code.BAD_TYPE: 400,
    Code.BAD_DATA: 400,
    Code.UNAUTHORIZED: 401,
    Code.FORBIDDEN: 403,
    Code.NO_SUCH_ROOM: 404,
    Code.UNKNOWN_TARGET: 404,
    Code.NOT_JOINED: 409,
    Code.ROOM_FULL: 409,
    Code.TOO_BIG: 413,
    Code.RATE_LIMITED: 429,
    Code.HANDLER_FAILED: 500,
    Code.UNSUPPORTED: 501,
    Code.BUSY: 503,
    Code.UNAVAILABLE: 503,
}


def add_routes(
    router: web.UrlDispatcher,
    operations: Operations,
    settings: NodeSettings,
    metrics: Handler,
) -> None:
    """Add these routes to the application of a node; `metrics` answers that one."""
    api = _Api(operations, settings.limits.message_bytes)
    access = Access(settings)
    router.add_get("/healthz", alive())
    router.add_get("/readyz", ready(operations.readiness))
    for method, path, handler in (
        ("GET", "/metrics", metrics),
        ("GET", "/api/nodes", api.nodes),
        ("POST", "/api/nodes/{node}/drain", api.drain),
        ("GET", "/api/rooms", api.rooms),
        ("GET", "/api/rooms/{room}/members", api.members),
        ("GET", "/api/rooms/{room}/events", api.events),
        ("POST", "/api/rooms/{room}/messages", api.send),
    ):
        router.add_route(method, path, _for_operators(handler, access))


def _for_operators(handler: Handler, access: Access) -> Handler:
    """Let operators in only, and tell refusals as JSON with a fitting status."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            access.check(request)
            return await handler(request)
        except Refused as refusal:
            return _told(refusal)
        except Unavailable:
            return _told(Refused(Code.UNAVAILABLE, "The broker does not answer; try again soon."))

    return handle


def _told(refusal: Refused) -> web.Response:
    error = frames.error(refusal)
    response = json_response({"error": error["error"]}, _STATUS[refusal.code])
    if refusal.retry_after_ms is not None:
        response.headers["Retry-After"] = str(-(-refusal.retry_after_ms // 1000))
    if refusal.code is Code.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


class _Api:
    """The handlers; each answers or raises Refused."""

    def __init__(self, operations: Operations, message_bytes: int) -> None:
        self._operations = operations
        self._message_bytes = message_bytes

    async def nodes(self, _: web.Request) -> web.Response:
        return json_response({"nodes": [asdict(node) for node in await self._operations.nodes()]})

    async def drain(self, request: web.Request) -> web.Response:
        node, window_s = request.match_info["node"], _window_s(await self._body(request))
        await self._operations.drain(node, window_s)
        return json_response({"node": node, "window_s": window_s}, status=202)

    async def rooms(self, request: web.Request) -> web.Response:
        match = request.query.get("match", "*")
        rooms = await self._operations.rooms()
        listed = [asdict(room) for room in rooms if fnmatchcase(room.name, match)]
        return json_response({"rooms": listed})

    async def members(self, request: web.Request) -> web.Response:
        room = _room(request)
        answer = await self._operations.ask(room, Who())
        if not isinstance(answer, Listing):
            raise _not_answered(answer)
        return json_response({
            "room": room,
            "epoch": answer.epoch,
            "seq": answer.seq,
            "count": answer.count,
            "members": [structs.asdict(member) for member in answer.members],
        })  # fmt: skip

    async def events(self, request: web.Request) -> web.Response:
        room = _room(request)
        answer = await self._operations.ask(room, _reading(request))
        if not isinstance(answer, Entries):
            raise _not_answered(answer)
        head = dumps({
            "room": room,
            "epoch": answer.epoch,
            "seq": answer.head,
            "oldest": answer.oldest,
            "more": answer.more,
        })  # fmt: skip
        # Events are JSON already, as clients get them; they are not decoded to be encoded again.
        events = b",".join(entry.frame for entry in answer.entries)
        return raw_json_response(b'%b,"events":[%b]}' % (head[:-1], events))

    async def send(self, request: web.Request) -> web.Response:
        room = _room(request)
        say, user = await self._message(request)
        answer = await self._operations.ask(room, structs.replace(say, operator=True), user)
        if not isinstance(answer, Accepted):
            raise _not_answered(answer)
        data = answer.data if answer.delivered is None else {"delivered": answer.delivered}
        ack = frames.ack(say.id, room, seq=answer.seq, data=data, duplicate=answer.duplicate)
        return json_response(ack)

    async def _message(self, request: web.Request) -> tuple[Say, str]:
        """The body, read as a client's frame would be, and in whose name it is said."""
        raw = await self._body(request)
        frame = JSON.decode(raw)
        if not isinstance(frame, Say):
            raise Refused(Code.BAD_TYPE, "Only messages of the application: a type with a dot.")
        return frame, checked_user(loads(raw).get("user", "operator"))

    async def _body(self, request: web.Request) -> bytes:
        # A page of another origin can post a form or text to us, but not this type.
        if request.content_type != "application/json":
            raise Refused(Code.BAD_FRAME, "Send JSON with content-type: application/json.")
        raw = await request.read()
        if len(raw) > self._message_bytes:
            raise Refused(Code.TOO_BIG, f"A message has at most {self._message_bytes} bytes.")
        return raw


def _room(request: web.Request) -> RoomName:
    return checked_room(request.match_info["room"])


def _window_s(body: bytes) -> float | None:
    """The window of a drain; None if it is left to the node."""
    try:
        given = loads(body or b"{}")
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise Refused(Code.BAD_FRAME, "Send a JSON object, or nothing.")
    window_s = given.get("window_s")
    if window_s is None:
        return None
    if isinstance(window_s, bool) or not isinstance(window_s, int | float):
        raise Refused(Code.BAD_DATA, "window_s must be a number of seconds.")
    if not 0 <= window_s <= DAY_S:
        raise Refused(Code.BAD_DATA, f"window_s must be between 0 and {DAY_S}.")
    return window_s


def _reading(request: web.Request) -> Read:
    after, before = _number(request, "after"), _number(request, "before")
    if after is not None and before is not None:
        raise Refused(Code.BAD_DATA, "Ask for events after a seq or before one, not both.")
    limit = _number(request, "limit")
    return Read(after, before, min(50 if limit is None else max(limit, 1), HISTORY))


def _number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if not text.isdecimal() or len(text) > 18:
        raise Refused(Code.BAD_DATA, f"{name} must be a whole number; got {text[:32]!r}.")
    return int(text)


def _not_answered(answer: Answer) -> Refused:
    """What to say when the room did not do what it was asked."""
    if isinstance(answer, Denied):
        return refused(answer)
    return Refused(Code.UNAVAILABLE, "The room is moving between nodes; try again in a moment.")
