"""Fixtures that the tests of several folders share: every backend, both faces."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from saver.backends import BACKENDS, FACES, Backend, place


@pytest_asyncio.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """An empty place for sessions."""
    opened = Backend(request.param, place(request.param, request))
    yield opened
    await opened.close()


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> str:
    """Which methods are tested."""
    name: str = request.param
    return name
