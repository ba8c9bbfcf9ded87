"""The golden frames of `protocol/vectors`, as test parameters."""

from json import loads
from pathlib import Path
from typing import Any

import pytest

_FOLDER = Path(__file__).parents[2] / "protocol" / "vectors"

Vector = dict[str, Any]


def vectors(name: str) -> list[Any]:
    """Every case of one file, as a `pytest.param` named after it."""
    cases = loads((_FOLDER / name).read_text(encoding="utf-8"))
    return [pytest.param(case, id=case["name"]) for case in cases]
