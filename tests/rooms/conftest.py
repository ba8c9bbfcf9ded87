"""What all suites of rooms share: nothing is printed, and what is logged can be asserted."""

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[EventDict]]:
    """The events logged so far."""
    with capture_logs() as events:
        yield events
