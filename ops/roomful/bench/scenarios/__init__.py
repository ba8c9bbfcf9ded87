"""The scenarios: each measures once, beside its ceilings, and yields its readings."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from roomful.bench.measure import Reading
from roomful.bench.scenarios import (
    ack,
    catchup,
    drain,
    failover,
    fanout,
    handoff,
    idle,
    recovery,
    rooms,
    storm,
)
from roomful.bench.subject import Bench


@dataclass(frozen=True, slots=True)
class Scenario:
    """`once` starts what it needs, measures everything one time and stops it again."""

    about: str
    once: Callable[[Bench], Iterator[Reading]]


SCENARIOS: Final[Mapping[str, Scenario]] = {
    "fanout": Scenario("one room, closed loop, 100 and 1,000 members", fanout.once),
    "ack": Scenario("one message at a time in an idle room", ack.once),
    "rooms": Scenario("acked messages: one hot room, 200 rooms", rooms.once),
    "idle": Scenario("5,000 idle connections: memory, handshakes", idle.once),
    "failover": Scenario("kill -9 of a node, 20 times, while people talk", failover.once),
    "handoff": Scenario("50 rooms handed to another node while people talk", handoff.once),
    "drain": Scenario("1,000 clients sent away, no faster than they are taken in", drain.once),
    "catchup": Scenario("one client that has missed 20,000 events", catchup.once),
    "recovery": Scenario("500 clients at once that have missed 20,000 each", recovery.once),
    "storm": Scenario("2,000 clients of a killed node return at once", storm.once),
}
