"""Questions about what streams hold, in the JSON of the JetStream API; and how failures repeat.

Reads come in two kinds: `newest` and `after` ask the stream's leader and are never stale; `copy`
and `batch` may be answered by a replica that lags behind by a moment, but cost the broker a quarter
for a message, and bring many at once.
"""

from asyncio import get_running_loop, sleep
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from secrets import SystemRandom
from typing import Any, Final, TypeVar

from msgspec import json

from roomful_nodes.nats_connection import ANSWER_S, NatsConnection
from roomful_nodes.nats_requests import NoAnswer
from roomful_nodes.nats_wire import field, sequence, status
from roomful_rooms.log import Unavailable

NO_MESSAGE: Final = 10037
WRONG_LAST: Final = 10071
"""Another message is the last of the subject: the final verdict on a compare-and-set."""
IN_FLIGHT: Final = 10164
"""Another write of the subject is still under way at the leader: the same may pass in a moment."""

PATIENCE_S: Final = 5.0
"""How long a read is tried before it is Unavailable."""

T = TypeVar("T")
_random: Final = SystemRandom()


class Rejected(Exception):
    """The broker's answer is an error of its API."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{description} ({code})")
        self.code = code


def lost_race(error: Exception) -> bool:
    """Whether a compare-and-set was refused because of another write, done or under way."""
    return isinstance(error, Rejected) and error.code in (WRONG_LAST, IN_FLIGHT)


class TooMany(Exception):
    """More subjects than one batch may have."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One message of a stream."""

    subject: str
    position: int
    data: bytes
    header: bytes | None = None


async def call(
    connection: NatsConnection,
    operation: str,
    body: Mapping[str, object] | None = None,
    timeout_s: float = ANSWER_S,
) -> dict[str, Any]:
    """The answer of `$JS.API.<operation>`. Raises Rejected and NoAnswer."""
    payload = json.encode(body) if body else b""
    subject = f"$JS.API.{operation}".encode()
    _, answer = await connection.request(subject, payload, timeout_s=timeout_s)
    return parsed(answer)


def parsed(answer: bytes) -> dict[str, Any]:
    """The mapping in an answer of the API. Raises Rejected."""
    content: dict[str, Any] = json.decode(answer)
    error = content.get("error")
    if error is not None:
        code = error.get("err_code", error.get("code", 0))
        raise Rejected(code, error.get("description", "no reason given"))
    return content


async def newest(connection: NatsConnection, stream: str, subject: str) -> Stored | None:
    """The last message of `subject`, from the leader. Raises NoAnswer and Rejected."""
    return await _message(connection, stream, {"last_by_subj": subject})


async def last(connection: NatsConnection, stream: str, subject: str) -> Stored | None:
    """`newest`, of a stream that allows copies, by the cheapest way on which it is not stale."""
    # Where there is one server, no other lags behind.
    way = copy if connection.single else newest
    return await way(connection, stream, subject)


async def copy(connection: NatsConnection, stream: str, subject: str) -> Stored | None:
    """The last message of `subject` as some server has it. Raises NoAnswer and Rejected."""
    asked = f"$JS.API.DIRECT.GET.{stream}.{subject}"
    header, data = await connection.request(asked.encode(), b"")
    match status(header):
        case 0:
            return Stored(subject, sequence(header), data, header)
        case 404:
            return None
        case code:
            raise Rejected(code, "direct get refused")


async def after(
    connection: NatsConnection, stream: str, subject: str, position: int
) -> Stored | None:
    """The first message of `subject` past `position`, from the leader; raises as `newest`."""
    return await _message(connection, stream, {"seq": position + 1, "next_by_subj": subject})


async def _message(
    connection: NatsConnection, stream: str, query: dict[str, object]
) -> Stored | None:
    try:
        answer = await call(connection, f"STREAM.MSG.GET.{stream}", query)
    except Rejected as rejected:
        if rejected.code == NO_MESSAGE:
            return None
        raise
    message = answer["message"]
    header = b64decode(message["hdrs"]) if "hdrs" in message else None
    data = b64decode(message.get("data", ""))
    return Stored(message["subject"], message["seq"], data, header)


async def subjects(connection: NatsConnection, stream: str, pattern: str) -> list[str]:
    """The subjects of `stream` that match and hold a message, from the leader; raises as `call`."""
    found: list[str] = []
    while True:
        query = {"subjects_filter": pattern, "offset": len(found)}
        info = await call(connection, f"STREAM.INFO.{stream}", query)
        page = info["state"].get("subjects") or {}
        found.extend(page)
        if not page or len(found) >= info.get("total", 0):
            return found


async def batch(
    connection: NatsConnection, stream: str, query: Mapping[str, object]
) -> tuple[list[Stored], int]:
    """The messages that a batched direct get brings, and how many more match.

    Raises NoAnswer, Rejected and TooMany.
    """
    subject = f"$JS.API.DIRECT.GET.{stream}".encode()
    *answers, (header, _) = await connection.series(subject, json.encode(query))
    match status(header):
        case 204:
            more = int(field(header, b"Nats-Num-Pending") or 0)
            return _unbroken([_stored(block or b"", data) for block, data in answers]), more
        case 404:
            return [], 0
        case 413:
            raise TooMany
        case code:
            raise Rejected(code, "batched direct get refused")


def _stored(header: bytes, data: bytes) -> Stored:
    subject = field(header, b"Nats-Subject") or b""
    return Stored(subject.decode(), sequence(header), data, header)


def _unbroken(found: list[Stored]) -> list[Stored]:
    """The same, if each names the one before it: routes between servers may lose messages."""
    previous = 0
    for one in found:
        if int(field(one.header, b"Nats-Last-Sequence") or 0) != previous:
            raise NoAnswer("a message of the batch was lost")
        previous = one.position
    return found


def pauses(first_s: float = 0.002, longest_s: float = 0.5) -> Iterator[float]:
    """Seconds to wait between attempts: doubling, jittered, without end."""
    pause = first_s
    while True:
        yield _random.uniform(0.5, 1.0) * pause
        pause = min(longest_s, 2 * pause)


async def patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """What `attempt` returns, tried again for a while if there is no answer. Raises Unavailable."""
    deadline, waits = get_running_loop().time() + PATIENCE_S, pauses()
    while True:
        try:
            return await attempt()
        except (NoAnswer, Rejected) as error:
            # Only now: nearly always there is nothing to wait for, and chance has its price.
            pause = next(waits)
            if get_running_loop().time() + pause > deadline:
                raise Unavailable(str(error)) from error
        await sleep(pause)
