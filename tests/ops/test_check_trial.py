"""A trial that has nothing to judge."""

from pathlib import Path

import pytest
from tests.support.nodes import MemoryCluster

from roomful.check.cluster import Shape
from roomful.check.crowd import Scale
from roomful.check.trial import Design, Progress, Trial
from roomful.failure import Failure
from roomful_nodes.settings import AuthSettings

AUTH = AuthSettings(secret="s" * 32, algorithms=("HS256",))


async def test_clients_who_are_not_let_in_prove_nothing(tmp_path: Path) -> None:
    async with MemoryCluster().node(anonymous=False, auth=AUTH) as node:
        scale = Scale(clients=3, rooms=2, rate=10, grace_s=2)
        design = Design(7, 60, scale, frozenset(), Shape(1, 5, 2), (node.url,))
        with pytest.raises(Failure, match=r"not let in: .*Try another --client-token"):
            await Trial(design, tmp_path, Progress(lambda _line: None)).run()
