"""The collector of the process, timed."""

import asyncio
import gc
from collections.abc import Iterator

import pytest
from tests.support.cluster import until

from roomful import collector as collector_module
from roomful.collector import THRESHOLDS, Collector


@pytest.fixture
def as_before() -> Iterator[None]:
    """Whatever is frozen in here is not for good."""
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


@pytest.mark.usefixtures("as_before")
def test_what_exists_at_the_start_is_not_looked_at_again() -> None:
    Collector(lambda _: None).settle()
    assert gc.get_freeze_count() > 1000
    assert gc.get_threshold() == THRESHOLDS


async def test_each_pass_is_timed_until_the_watch_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector_module, "REPORT_S", 0.001)
    took: list[float] = []
    before = list(gc.callbacks)
    watch = asyncio.create_task(Collector(took.append).watch())
    await until(lambda: len(gc.callbacks) > len(before), "it listens")
    for passes in (1, 2):
        gc.collect()
        await until(lambda: len(took) >= passes, "the pass is timed")  # noqa: B023 - in this turn
    assert all(0 < seconds < 60 for seconds in took)
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch
    assert gc.callbacks == before
