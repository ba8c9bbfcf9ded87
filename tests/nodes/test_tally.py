"""Cheap counts look to Prometheus like its own."""

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from roomful_nodes.tally import Latencies, Tallies, Tally


def test_latencies_are_exposed_as_a_histogram_is() -> None:
    bounds, seen = (0.001, 0.5, 1), (0.0, 0.001, 0.0011, 0.7, 1.0, 30.0)
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    latencies = Latencies("waits", "How long.", bounds)
    ours.register(latencies)
    histogram = Histogram("waits", "How long.", registry=theirs, buckets=bounds)
    for seconds in seen:
        latencies.observe(seconds)
        histogram.observe(seconds)
    expected = [line for line in generate_latest(theirs).splitlines() if b"_created" not in line]
    assert generate_latest(ours).splitlines() == expected


def test_tallies_are_a_counter_with_a_label() -> None:
    registry, done, failed = CollectorRegistry(), Tally(), Tally()
    registry.register(Tallies("jobs", "What became of them.", {"done": done, "no": failed}, "end"))
    done.inc()
    done.inc(2)
    assert registry.get_sample_value("jobs_total", {"end": "done"}) == 3
    assert registry.get_sample_value("jobs_total", {"end": "no"}) == 0


def test_one_tally_is_a_counter() -> None:
    registry, seen = CollectorRegistry(), Tally()
    registry.register(Tallies("blocks", "Seen.", {"": seen}))
    seen.inc(7)
    assert registry.get_sample_value("blocks_total") == 7
