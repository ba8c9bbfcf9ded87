"""The verdict notices what it is for: break one thing on purpose, and see by which rule."""

import pytest
from tests.simulation import mutants
from tests.simulation.histories import simulate
from tests.simulation.mutants import Mutant

SEEDS = 40
"""Histories within which each must be noticed; most are in the first two."""


@pytest.mark.parametrize(
    ("mutant", "rules"),
    [
        (mutants.no_fence, {"fenced", "dense", "once", "owned", "agreement", "acked"}),
        (mutants.no_dedupe, {"once"}),
        (mutants.no_gaps, {"order", "whole"}),
        (mutants.no_repair, {"whole"}),
        (mutants.no_heed, {"whole"}),
        (mutants.stale_hand_off, {"dense", "acked", "agreement"}),
        (mutants.no_lease, {"fenced", "owned", "dense"}),
        (mutants.early_acks, {"acked", "presence"}),
        (mutants.rash_sweep, {"grace"}),
        (mutants.no_grace, {"grace"}),
        (mutants.no_rollback, {"transactions"}),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_is_broken_on_purpose_is_noticed(
    mutant: Mutant, rules: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    for seed in range(SEEDS):
        noticed = {violation.rule for violation in simulate(seed).violations}
        if noticed & rules:
            return
    pytest.fail(f"not noticed in {SEEDS} histories by any of {', '.join(sorted(rules))}")
