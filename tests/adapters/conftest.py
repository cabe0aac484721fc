"""Fixtures of the adapters' tests: sessions on every backend."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from saver.backends import BACKENDS, FACES, Backend, place
from wren_sessions import Sessions


@pytest_asyncio.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """An empty place for sessions."""
    opened = Backend(request.param, place(request.param, request))
    yield opened
    await opened.close()


@pytest.fixture
def sessions(backend: Backend) -> Sessions:
    """Sessions of a store on it."""
    return Sessions(backend.store())


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> str:
    """Which methods of an adapter are tested."""
    name: str = request.param
    return name
