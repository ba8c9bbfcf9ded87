"""The handbook says what is there, and nothing else: settings, metrics, log events."""

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from tests.support.vocabulary import Logged, logged

from roomful.config import Config
from roomful_nodes.metrics import Metrics

HANDBOOK = (Path(__file__).parents[2] / "ops/README.md").read_text()
EVENTS = logged()


def table(section: str) -> dict[str, list[str]]:
    """The rows of the first table in a section by the name in their first cell."""
    text = HANDBOOK.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = (re.split(r"(?<!\\)\|", line) for line in text.splitlines() if line.startswith("| `"))
    return {row[1].strip(" `"): [cell.strip() for cell in row[2:-1]] for row in rows}


def test_every_setting_is_described() -> None:
    described = table("Configuration")
    assert set(described) == set(Config.model_fields)
    for name, field in Config.model_fields.items():
        if field.default not in (None, ()):
            assert described[name][0] == f"`{field.default}`", name


def test_every_metric_is_described() -> None:
    counted = {
        (f"{metric.name}_total" if metric.type == "counter" else metric.name): metric.type
        for metric in Metrics(CollectorRegistry()).registry.collect()
    }
    assert {name: cells[0] for name, cells in table("Metrics").items()} == counted


def test_every_event_is_described() -> None:
    assert set(table("Log events")) == set(EVENTS)


@pytest.mark.parametrize(("name", "event"), EVENTS.items())
def test_level_and_fields_are_those_of_the_source(name: str, event: Logged) -> None:
    level, fields, meaning = table("Log events")[name]
    if "log" not in event.methods:
        assert set(level.split(" or ")) == {
            "error" if method == "exception" else method for method in event.methods
        }, event.places
    # The node is on every line anyway.
    assert set(re.findall(r"`(\w+)`", fields)) == event.fields - {"node"}, event.places
    assert meaning


@pytest.mark.parametrize("name", EVENTS)
def test_names_of_events_are_alike(name: str) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z_]+", name)
