"""What a node counts, for Prometheus.

One object per node, with a registry of its own, so that several nodes may live in one process.
`inc` takes a lock and costs about a microsecond: on hot paths count once per batch, `inc(n)`, or in
a tally.
"""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from roomful_nodes.tally import Latencies, Tallies, Tally

# Seconds; from a local call to a client's last patience.
LATENCIES: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Typed attributes to count with; their texts say what each is. `ops/README.md` lists them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._of_clients(registry)
        self._of_rooms(registry)
        counter, histogram = _counter(registry), _histogram(registry)
        self.nats_disconnects = counter("nats_disconnects", "Connections to the broker lost.")
        self.loop_lag_seconds = histogram(
            "loop_lag_seconds", "How late the event loop ran a timer."
        )
        self.gc_pause_seconds = histogram(
            "gc_pause_seconds", "One pass of Python's garbage collector; nothing runs meanwhile."
        )
        self.loop_stalls = counter("loop_stalls", "Times the event loop stood still for a second.")

    def _of_clients(self, registry: CollectorRegistry) -> None:
        gauge, counter, labelled = _gauge(registry), _counter(registry), _labelled(registry)
        self.connections = gauge("connections", "Open WebSockets.")
        self.sessions = gauge("sessions", "Sessions, those that may still come back included.")
        self.arrivals = gauge("arrivals_waiting", "Clients that wait to be let in.")
        turned_away = labelled("turned_away", "Connections not let in.", "reason")
        self.turned_away_crowded = turned_away.labels("crowded")
        self.turned_away_full = turned_away.labels("full")
        self.turned_away_idle = turned_away.labels("idle")
        self.closed = labelled("closed", "WebSockets closed from here, by bye.", "reason")
        self.deliveries = Tally()
        text = "Frames written to clients."
        registry.register(Tallies("roomful_deliveries", text, {"": self.deliveries}))
        self.rate_limited = counter("rate_limited", "Messages refused as more than allowed.")
        self.shed = counter("shed", "Ephemeral frames not written to clients that were behind.")
        self.lagging = counter("lagging", "Times a client fell back to reading the log.")
        self.caught_up = counter("caught_up", "Times one that had fallen back was live again.")

    def _of_rooms(self, registry: CollectorRegistry) -> None:
        gauge, counter = _gauge(registry), _counter(registry)
        self.rooms = gauge("rooms_loaded", "Rooms in memory, run by this node.")
        self.partitions = gauge("partitions_owned", "Partitions this node owns.")
        self._of_commands(registry)
        self._of_blocks(registry)
        self.gaps_repaired = counter("gaps_repaired", "Holes in republication read from the log.")

    def _of_commands(self, registry: CollectorRegistry) -> None:
        """These are counted for every message, whoever sends it."""
        self.commands_accepted, self.commands_duplicate = Tally(), Tally()
        self.commands_denied, self.commands_moved = Tally(), Tally()
        outcomes = {
            "accepted": self.commands_accepted, "duplicate": self.commands_duplicate,
            "denied": self.commands_denied, "moved": self.commands_moved,
        }  # fmt: skip
        text = "Answers to commands sent from here; moved ones are asked again."
        registry.register(Tallies("roomful_commands", text, outcomes, "outcome"))
        self.command_seconds = _latencies(
            registry, "command_seconds", "Client's frame to its answer."
        )

    def _of_blocks(self, registry: CollectorRegistry) -> None:
        """These for every append, which may be as often."""
        self.blocks, self.entries = Tally(), Tally()
        registry.register(Tallies("roomful_blocks", "Blocks appended to logs.", {"": self.blocks}))
        text = "Entries appended, in those blocks."
        registry.register(Tallies("roomful_entries", text, {"": self.entries}))
        self.append_seconds = _latencies(
            registry, "append_seconds", "One append to the log, until acked."
        )


def _gauge(registry: CollectorRegistry) -> Callable[[str, str], Gauge]:
    return lambda name, text: Gauge(f"roomful_{name}", text, registry=registry)


def _counter(registry: CollectorRegistry) -> Callable[[str, str], Counter]:
    return lambda name, text: Counter(f"roomful_{name}", text, registry=registry)


def _labelled(registry: CollectorRegistry) -> Callable[[str, str, str], Counter]:
    return lambda name, text, label: Counter(f"roomful_{name}", text, [label], registry=registry)


def _latencies(registry: CollectorRegistry, name: str, text: str) -> Latencies:
    latencies = Latencies(f"roomful_{name}", text, LATENCIES)
    registry.register(latencies)
    return latencies


def _histogram(registry: CollectorRegistry) -> Callable[[str, str], Histogram]:
    return lambda name, text: Histogram(
        f"roomful_{name}", text, registry=registry, buckets=LATENCIES
    )
