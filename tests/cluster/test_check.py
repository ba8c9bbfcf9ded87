"""`roomful check` on real nodes: a cluster that keeps its promises, and one that does not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.conftest import StartNode

KINDS = 3
"""So many different troubles fit into a short check at least."""


def checked(folder: Path, *args: str) -> tuple[int, Any]:
    """The exit code of `roomful check`, and what it found."""
    command = [sys.executable, "-m", "roomful", "check", "--json", "--keep", str(folder), *args]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout)


@pytest.mark.timeout(270)
def test_a_cluster_keeps_its_promises_whatever_happens(tmp_path: Path) -> None:
    code, found = checked(
        tmp_path, "--minutes", "0.4", "--seed", "7", "--rate", "80", "--clients", "16",
        "--lease-s", "2", "--grace-s", "4",
    )  # fmt: skip
    assert (code, found["violations"]) == (0, [])
    assert found["good"]
    assert len({trouble["kind"] for trouble in found["troubles"]}) >= KINDS
    counts = found["counts"]
    assert counts["acked"] > 500
    assert counts["heard"] > counts["acked"]
    assert counts["entries"] >= counts["acked"] * 0.8
    assert found["again"][:2] == ["roomful", "check"]
    assert (tmp_path / "clients" / "auditor.txt").is_file()


@pytest.mark.timeout(180)
async def test_a_cluster_that_does_not_is_found_out(start_node: StartNode, tmp_path: Path) -> None:
    """It gives clients less time to come back than it says."""
    node = await start_node("--grace-s", "1", "--limit-connects-per-s", "1000")
    code, found = checked(
        tmp_path, "--url", node.url, "--minutes", "0.1", "--seed", "1", "--faults", "away,drop",
        "--rate", "300", "--clients", "30", "--grace-s", "6",
    )  # fmt: skip
    assert code == 1
    assert not found["good"]
    assert {violation["rule"] for violation in found["violations"]} == {"grace"}
    assert found["evidence"] == str(tmp_path)
