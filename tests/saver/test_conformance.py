"""LangGraph's conformance kit: every capability, on every backend, on both faces."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import ALL_CAPABILITIES

from saver.backends import BACKENDS, SAVERS, Backend


@pytest.mark.parametrize("backend", [*BACKENDS, "cluster"], indirect=True)
@pytest.mark.parametrize("capability", sorted(found.value for found in ALL_CAPABILITIES))
async def test_the_kit_finds_no_fault(backend: Backend, face: str, capability: str) -> None:
    """A capability passes all of its tests, and some were run."""
    store = backend.store()

    @checkpointer_test(name=f"{backend.name}-{face}")
    async def savers() -> AsyncGenerator[BaseCheckpointSaver[str], None]:
        yield SAVERS[face](store)

    report = await validate(savers, capabilities={capability})
    result = report.results[capability]
    assert not result.failures, "\n\n".join(result.failures)
    assert result.tests_passed
    assert not result.tests_failed
