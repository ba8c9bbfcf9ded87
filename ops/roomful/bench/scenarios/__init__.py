"""The scenarios: each measures once, beside its ceilings, and yields its readings."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from roomful.bench.measure import Reading
from roomful.bench.scenarios import (
    ack,
    catchup,
    churn,
    drain,
    everybody,
    failover,
    fanout,
    growth,
    handoff,
    idle,
    inbound,
    paced,
    recovery,
    rooms,
    storm,
    targeted,
    workers,
)
from roomful.bench.subject import Bench


@dataclass(frozen=True, slots=True)
class Scenario:
    """`once` starts what it needs, measures everything one time and stops it again."""

    about: str
    once: Callable[[Bench], Iterator[Reading]]


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "fanout": Scenario("one room of 100 and of 1,000, as fast as all hear it", fanout.once),
    "everybody": Scenario("100 rooms of ten, in which everybody speaks", everybody.once),
    "paced": Scenario("latency at 10,000 and 500,000 deliveries a second", paced.once),
    "ack": Scenario("one message at a time in an idle room", ack.once),
    "rooms": Scenario("acked messages: one hot room, 200 rooms", rooms.once),
    "inbound": Scenario("messages to a handler that does nothing", inbound.once),
    "targeted": Scenario("messages to a user of another node, among others", targeted.once),
    "idle": Scenario("10,000 idle connections: handshakes, memory, heartbeats", idle.once),
    "churn": Scenario("20,000 connections that come and go: memory", churn.once),
    "growth": Scenario("cost by members, rooms and nodes, for --plot", growth.once),
    "catchup": Scenario("one client that has missed 20,000 events", catchup.once),
    "recovery": Scenario("500 clients at once that have missed 20,000 each", recovery.once),
    "failover": Scenario("kill -9 of a node, 20 times, while people talk", failover.once),
    "handoff": Scenario("50 rooms handed to another node while people talk", handoff.once),
    "drain": Scenario("1,000 clients sent away, no faster than they are taken in", drain.once),
    "storm": Scenario("2,000 clients of a killed node return at once", storm.once),
    "workers": Scenario("one worker on the port, and two", workers.once),
}
