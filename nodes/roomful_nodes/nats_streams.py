"""The streams of one cluster: what they are called, how they are made, what makes them unfit.

Four for the logs and four for the archives, so that the work spreads over three servers, and one
for the directory. Never one per room.
"""

from asyncio import gather, get_running_loop, sleep
from typing import Any, Final

from structlog import get_logger

from roomful_nodes.nats_connection import BrokerError, NatsConnection
from roomful_nodes.nats_requests import NoAnswer, NobodyThere
from roomful_nodes.nats_stored import Rejected, call, pauses
from roomful_protocol.subjects import STREAMS, Subjects

RECORDS_PER_ROOM: Final = 4096
"""What the log keeps of a room; older records are in the room's snapshot and pages by then."""
MARKER_S: Final = 60
"""How long a deleted or expired key of the directory leaves a marker."""

OLDEST_SERVER: Final = (2, 12)
PATIENCE_S: Final = 30.0
"""How long a broker that has just started may take to make the streams."""
OFF_AFTER_S: Final = 2.0
"""How long nobody may answer for JetStream before it counts as switched off."""
CREATE_S: Final = 10.0

_SECOND: Final = 10**9
_IN_USE: Final = 10058
_NO_STREAM: Final = 10059
_OVERLAP: Final = 10065
_NOT_ENABLED: Final = (10039, 10076)
_TOO_FEW_SERVERS: Final = (10005, 10074)
_COMMON: Final = {
    "retention": "limits", "discard": "old", "storage": "file",
}  # fmt: skip

# What must be as we want it for the promises to hold; the rest is the operator's to tune.
_ESSENTIAL: Final = (
    "subjects", "storage", "retention", "discard", "republish", "allow_msg_ttl", "allow_direct",
    "subject_delete_marker_ttl", "persist_mode",
)  # fmt: skip

Config = dict[str, Any]
log = get_logger(__name__)


def log_stream(subjects: Subjects, number: int) -> str:
    return f"{_title(subjects)}_LOG_{number}"


def archive_stream(subjects: Subjects, number: int) -> str:
    return f"{_title(subjects)}_ARC_{number}"


def directory_stream(subjects: Subjects) -> str:
    return f"{_title(subjects)}_DIR"


def _title(subjects: Subjects) -> str:
    return subjects.prefix.replace(".", "_").upper()


async def prepare(connection: NatsConnection, subjects: Subjects, replicas: int = 1) -> int:
    """Make the streams that are missing. Any number of nodes may do so at once.

    Returns in how many copies all of them are kept: those that exist keep their number. Raises
    BrokerError with one sentence: the broker is too old, has JetStream off or too few servers, or
    holds streams of another shape.
    """
    major, minor = connection.server_version
    if (major, minor) < OLDEST_SERVER:
        raise BrokerError(f"nats-server {major}.{minor} is too old; Roomful needs 2.12 or newer.")
    copies = await _insisted(connection, subjects, replicas)
    log.info("nats.streams_ready", prefix=subjects.prefix, replicas=copies, url=connection.url)
    if copies != replicas:
        log.warning("nats.replicas_differ", found=copies, wanted=replicas)
    return copies


async def _insisted(connection: NatsConnection, subjects: Subjects, replicas: int) -> int:
    """Make the streams as soon as the broker lets us; in how many copies all of them are kept."""
    streams = _configurations(subjects, replicas)
    started = get_running_loop().time()
    for pause in pauses(0.05):
        try:
            await call(connection, "INFO")
            await _check_none_beyond(connection, subjects)
            return min(await gather(*(_ensure(connection, one) for one in streams)))
        except (NoAnswer, Rejected) as error:
            _give_up(connection, error, get_running_loop().time() - started)
        await sleep(pause)
    raise AssertionError("pauses never end")


def _give_up(connection: NatsConnection, error: NoAnswer | Rejected, waited_s: float) -> None:
    """Raise BrokerError unless it may help to try again: a broker needs a while to start."""
    at = f"at {connection.url}"
    match error:
        case Rejected(code=code) if code in _NOT_ENABLED:
            raise BrokerError(f"JetStream is off for this account {at}; enable it there.")
        case Rejected(code=code) if code in _TOO_FEW_SERVERS:
            raise BrokerError(f"The broker {at} has too few servers for so many replicas: {error}.")
        case NobodyThere() if waited_s > OFF_AFTER_S:
            raise BrokerError(f"JetStream is off {at}; start nats-server with --jetstream.")
        case _ if waited_s > PATIENCE_S:
            raise BrokerError(f"The broker {at} does not make the streams: {error}.")


def _configurations(subjects: Subjects, replicas: int) -> list[Config]:
    logs = [_log_configuration(subjects, number) for number in range(STREAMS)]
    archives = [_archive_configuration(subjects, number) for number in range(STREAMS)]
    return [
        {"num_replicas": replicas, "duplicate_window": _SECOND // 10, **_COMMON, **one}
        for one in (*logs, *archives, _directory_configuration(subjects))
    ]


def _log_configuration(subjects: Subjects, number: int) -> Config:
    source = f"{subjects.prefix}.log.{number}.*.*"
    heard = f"{subjects.prefix}.evt.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}"
    return {
        "name": log_stream(subjects, number),
        "subjects": [source],
        "max_msgs_per_subject": RECORDS_PER_ROOM,
        "allow_direct": True,
        "deny_delete": True,
        "republish": {"src": source, "dest": heard},
    }


def _archive_configuration(subjects: Subjects, number: int) -> Config:
    return {
        "name": archive_stream(subjects, number),
        "subjects": [f"{subjects.prefix}.arc.{number}.>"],
        "max_msgs_per_subject": 1,
        "allow_direct": True,
    }


def _directory_configuration(subjects: Subjects) -> Config:
    source = subjects.directory(">")
    return {
        "name": directory_stream(subjects),
        "subjects": [source],
        "max_msgs_per_subject": 1,
        "allow_msg_ttl": True,
        "subject_delete_marker_ttl": MARKER_S * _SECOND,
        "republish": {"src": source, "dest": subjects.directory_change(">")},
    }


async def _check_none_beyond(connection: NatsConnection, subjects: Subjects) -> None:
    """Raise BrokerError if there are more streams than ours: in these, rooms would look empty."""
    for beyond in (log_stream(subjects, STREAMS), archive_stream(subjects, STREAMS)):
        try:
            await call(connection, f"STREAM.INFO.{beyond}")
        except Rejected as rejected:
            if rejected.code != _NO_STREAM:
                raise
        else:
            raise BrokerError(
                f"The stream {beyond} at {connection.url} is of a version of Roomful that spread "
                f"rooms over more than {STREAMS}; delete all streams named {_title(subjects)}_*, "
                "or choose another prefix or data directory."
            )


async def _ensure(connection: NatsConnection, wanted: Config) -> int:
    """Make one stream, or see that the one that is there will do; how many servers keep it."""
    name = wanted["name"]
    try:
        # Making a stream that is there already, in the same shape, is no error.
        found = (await call(connection, f"STREAM.CREATE.{name}", wanted, CREATE_S))["config"]
    except Rejected as rejected:
        if rejected.code == _OVERLAP:
            raise BrokerError(
                f"Another stream at {connection.url} already stores {wanted['subjects'][0]}; "
                "choose another prefix."
            ) from None
        if rejected.code != _IN_USE:
            raise
        found = (await call(connection, f"STREAM.INFO.{name}", timeout_s=CREATE_S))["config"]
    wrong = [key for key in _ESSENTIAL if (found.get(key) or None) != (wanted.get(key) or None)]
    if wrong:
        raise BrokerError(
            f"The stream {name} at {connection.url} was made with another {' and '.join(wrong)}; "
            "delete it, or choose another prefix."
        )
    copies: int = found["num_replicas"]
    return copies
