"""Whether the broker's store still is what it was: a broker may forget, and give out numbers again.

Only the embedded broker can know (see `roomful.embedded_marker`). It tells all nodes by the name of
its server, which is another one after each time that something may have been lost.
"""

from typing import Final

from roomful_nodes.nats_connection import NatsConnection
from roomful_nodes.nats_requests import NoAnswer
from roomful_nodes.nats_stored import Rejected, parsed

EMBEDDED: Final = "roomful-embedded"
_WHO: Final = b"$SYS.REQ.USER.INFO"


def embedded_name(incarnation: str) -> str:
    """What an embedded server is called whose store has become `incarnation` ("": the first)."""
    return f"{EMBEDDED}-{incarnation}" if incarnation else EMBEDDED


async def incarnation(connection: NatsConnection) -> str:
    """Which incarnation of its store the broker knows itself to be; "" for all it does not know."""
    try:
        _, answer = await connection.request(_WHO, b"")
        name = str(parsed(answer).get("server", {}).get("name", ""))
    except (NoAnswer, Rejected):
        # A server of the operator's may forbid the question. An embedded one does not.
        return ""
    known, _, suffix = name.partition(f"{EMBEDDED}-")
    return "" if known else suffix
