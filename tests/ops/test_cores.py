"""As many cores as the scheduler lets this process have, in whichever way it is limited."""

import os
from pathlib import Path

import pytest

from roomful import cores


@pytest.mark.parametrize(
    ("quota", "usable"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("10000 100000\n", 1),
        ("3200000 100000\n", 8),
        ("nonsense", 8),
        (None, 8),
    ],
)
def test_what_the_group_is_given_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str | None, usable: int
) -> None:
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota)
    monkeypatch.setattr(cores, "QUOTA", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    assert cores.usable_cores() == usable
