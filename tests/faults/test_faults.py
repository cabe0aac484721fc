"""Graphs whose connections fail; ``nox -s faults`` runs 2,000 faults and more."""

from __future__ import annotations

from typing import Final

import pytest

from faults.lossy import FAULTS
from faults.trials import FACES, Report, trial
from servers import ServerAddress

SEEDS: Final = 9


@pytest.mark.parametrize("face", FACES)
async def test_a_conversation_ends_as_without_faults(
    redis_url: str, redis_server: ServerAddress, face: str
) -> None:
    """Every call does what it is to do, or raises an error of ours; nothing is lost or doubled."""
    report = Report()
    for seed in range(SEEDS):
        await trial(seed, face, redis_server, report)
    assert not report.wrong
    assert report.errors.total() > 3
    assert {*report.faults} == {*FAULTS}
