"""What the kernel says that processes used."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from roomful.bench.processes import Server, cpu_s

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench needs Linux")


def test_cpu_time_is_counted_in_less_than_ticks() -> None:
    before, at = cpu_s([os.getpid()]), time.process_time()
    while time.process_time() < at + 0.002:
        pass
    used = cpu_s([os.getpid()]) - before
    assert 0.002 <= used <= time.process_time() - at + 0.001


def test_how_somebody_has_set_up_a_node_is_not_passed_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ROOMFUL_NATS", "nats://people.example:4222")
    monkeypatch.setenv("ROOMFUL_LOG_LEVEL", "debug")
    said = tmp_path / "said"
    script = f"import json, os; open({str(said)!r}, 'w').write(json.dumps(dict(os.environ)))"
    own = {"ROOMFUL_LOG_LEVEL": "warning"}
    command = [sys.executable, "-c", f"{script}; import time; time.sleep(60)"]

    def ready(_: int) -> bool:
        return said.exists() and said.stat().st_size > 0

    with Server.started(command, 1, tmp_path, ready, own):
        told = json.loads(said.read_text())
    assert {name: value for name, value in told.items() if name.startswith("ROOMFUL_")} == own


def test_what_has_ended_counts_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert cpu_s([ended.pid]) == 0
