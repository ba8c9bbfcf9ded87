"""Nodes on one port: whoever is reached speaks for all, and who leaves takes no more clients."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs
from tests.support.cluster import free_port, until
from tests.support.nodes import MemoryCluster, MemoryNode
from tests.support.wire import Wire

from roomful_nodes import siblings
from roomful_nodes.siblings import Siblings, merged

Pair = tuple[MemoryNode, MemoryNode]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not below pytest's own: a socket's path may have 107 characters only."""
    with TemporaryDirectory(prefix="roomful-tests-") as path:
        yield Path(path)


def shared_port(folder: Path) -> dict[str, Any]:
    return {"port": free_port(), "siblings": folder}


@pytest.fixture
async def pair(folder: Path) -> AsyncIterator[Pair]:
    """The nodes n1 and n2 on one port."""
    cluster, shared = MemoryCluster(), shared_port(folder)
    async with cluster.node(**shared) as one, cluster.node(**shared) as two:
        await until(lambda: len(one.node._cluster.nodes) == 2, "they know each other")
        yield one, two


async def asked(url: str, **query: str) -> tuple[int, str]:
    """Status and text of the metrics, over a connection of its own."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{url}/metrics", params=query) as response,
    ):
        return response.status, await response.text()


def names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.iterdir())


def connections(text: str) -> dict[str, float]:
    """Open WebSockets by node."""
    families = {family.name: family for family in text_string_to_metric_families(text)}
    samples = families["roomful_connections"].samples
    return {sample.labels.get("node", ""): sample.value for sample in samples}


async def test_the_kernel_spreads_connections_and_metrics_count_all(pair: Pair) -> None:
    async with AsyncExitStack() as open:
        for _ in range(40):
            wire = await Wire.open(pair[0].url)
            open.push_async_callback(wire.close)
        status, text = await asked(pair[0].url)
        counted = connections(text)
    assert status == 200
    assert set(counted) == {"n1", "n2"}
    assert sum(counted.values()) == 40
    # One of them gets none once in 10^12 runs.
    assert min(counted.values()) > 0


async def test_metrics_of_one_node_through_any(pair: Pair) -> None:
    for each in pair:
        each.node.metrics.connections.set_function(partial(int, each.node.id[1:]))
    # Each connection may reach either: both ways are gone with near certainty.
    for _ in range(10):
        for node in ("n1", "n2"):
            status, text = await asked(pair[0].url, node=node)
            assert (status, connections(text)) == (200, {"": float(node[1:])})
    assert (await asked(pair[0].url, node="n3"))[0] == 404


async def test_a_sibling_that_is_dead_or_hangs_is_left_out(
    pair: Pair, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(siblings, "ANSWER_S", 0.1)
    # A process that was killed leaves its socket behind.
    Siblings(folder, "n8").socket.touch()
    with capture_logs() as logs:
        _, text = await asked(pair[0].url)
    assert set(connections(text)) == {"n1", "n2"}
    assert [line["missing"] for line in logs] == [["n8"]]
    assert (await asked(pair[0].url, node="n8"))[0] == 503


async def test_siblings_let_in_whom_the_node_lets_in(folder: Path) -> None:
    cluster, shared = MemoryCluster(), shared_port(folder) | {"admin_token": "opensesame"}
    async with cluster.node(**shared) as one, cluster.node(**shared):
        assert (await asked(one.url))[0] == 401
        headers = {"Authorization": "Bearer opensesame"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.get(f"{one.url}/metrics") as response,
        ):
            assert set(connections(await response.text())) == {"n1", "n2"}


async def test_who_leaves_takes_no_more_clients(pair: Pair) -> None:
    leaving, staying = pair
    await leaving.node.drain(0)
    async with AsyncExitStack() as open:
        for _ in range(20):
            wire = await Wire.open(leaving.url)
            open.push_async_callback(wire.close)
            assert wire.hello["node"] == staying.node.id
        # It is still counted, until it ends.
        assert connections((await asked(leaving.url))[1]) == {"n1": 0.0, "n2": 20.0}


async def test_nothing_is_left_of_those_who_have_gone(folder: Path) -> None:
    cluster, shared = MemoryCluster(), shared_port(folder)
    async with cluster.node(**shared):
        async with cluster.node(**shared) as two:
            assert names(folder) == ["n1", "n2"]
        assert names(folder) == ["n1"]
        # Its port goes on, without it.
        assert set(connections((await asked(two.url))[1])) == {"n1"}
    assert names(folder) == []


async def test_a_port_of_its_own_is_not_shared() -> None:
    cluster, port = MemoryCluster(), free_port()
    async with cluster.node(port=port):
        with pytest.raises(OSError, match="in use"):
            async with cluster.node(port=port):
                pass


def test_samples_of_one_metric_stand_together() -> None:
    text = (
        "# HELP a_total What a is.\n# TYPE a_total counter\n"
        'a_total{reason="x y"} 1.0\na_total{reason="{"} 2.0\n'
        "# HELP b B { is.\n# TYPE b gauge\nb 3.0\n"
    )
    assert merged({"n1": text, "n2": text}) == (
        "# HELP a_total What a is.\n# TYPE a_total counter\n"
        'a_total{node="n1",reason="x y"} 1.0\na_total{node="n1",reason="{"} 2.0\n'
        'a_total{node="n2",reason="x y"} 1.0\na_total{node="n2",reason="{"} 2.0\n'
        "# HELP b B { is.\n# TYPE b gauge\n"
        'b{node="n1"} 3.0\nb{node="n2"} 3.0\n'
    )
