"""A node's three connections to NATS, and its seams on them."""

from asyncio import gather
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from roomful_nodes import nats_keeping
from roomful_nodes.nats_archive import NatsArchive
from roomful_nodes.nats_bus import NatsBus
from roomful_nodes.nats_connection import NatsConnection
from roomful_nodes.nats_directory import NatsDirectory
from roomful_nodes.nats_log import NatsLog
from roomful_nodes.nats_streams import prepare
from roomful_nodes.seams import Seams
from roomful_protocol.frames import Durability
from roomful_protocol.subjects import Subjects
from roomful_rooms.clock import Clock, NewId


@dataclass(frozen=True, slots=True)
class Broker:
    """Where the broker is, and how to be let in: a token, or the path of a credentials file.

    `sync_s`: how often its servers bring what they acknowledge to disk, 0 for at once, None if
    nobody has said. `incarnation`: that of its store, None to ask it.
    """

    urls: Sequence[str]
    token: str | None = field(default=None, repr=False)
    credentials: str | None = None
    sync_s: float | None = None
    incarnation: str | None = None

    @property
    def power_loss_s(self) -> float | None:
        """What a power failure may cost: syncing takes its time, too, so the interval twice."""
        return None if self.sync_s is None else 2 * self.sync_s


@asynccontextmanager
async def seams_on(
    broker: Broker,
    *,
    prefix: str,
    replicas: int,
    clock: Clock,
    new_id: NewId,
    closed: Callable[[], None],
) -> AsyncIterator[Seams]:
    """Connect, make the streams that are missing, and close when done.

    Three connections, so that neither a flood of events nor one of appends ever delays a lease.
    `closed` is called if one of them is lost for good. Raises BrokerError with one sentence.
    """
    subjects = Subjects(prefix)
    async with AsyncExitStack() as open_now:

        async def connect(name: str) -> NatsConnection:
            connection = await NatsConnection.open(
                broker.urls,
                name=f"roomful {name}",
                token=broker.token,
                credentials=broker.credentials,
                closed=closed,
            )
            open_now.push_async_callback(connection.close)
            return connection

        leases = await connect("leases")
        copies = await prepare(leases, subjects, replicas)
        incarnation = broker.incarnation
        if incarnation is None:
            incarnation = await nats_keeping.incarnation(leases)
        appends = await connect("appends")
        events = await connect("events")

        async def sound() -> None:
            await gather(appends.answered(), events.answered())

        yield Seams(
            NatsLog(appends, subjects, events), NatsArchive(appends, subjects),
            NatsDirectory(leases, subjects), NatsBus(events), subjects, clock, new_id,
            Durability(copies, broker.power_loss_s), incarnation, sound,
        )  # fmt: skip
