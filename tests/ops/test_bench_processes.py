"""What the kernel says that processes used."""

import os
import subprocess
import sys
import time

import pytest

from roomful.bench.processes import cpu_s

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench needs Linux")


def test_cpu_time_is_counted_in_less_than_ticks() -> None:
    before, at = cpu_s([os.getpid()]), time.process_time()
    while time.process_time() < at + 0.002:
        pass
    used = cpu_s([os.getpid()]) - before
    assert 0.002 <= used <= time.process_time() - at + 0.001


def test_what_has_ended_counts_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert cpu_s([ended.pid]) == 0
