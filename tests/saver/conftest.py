"""Fixtures of the saver's tests: every backend, both faces."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from saver.backends import BACKENDS, FACES, SAVERS, Backend, place
from saver.calls import Calls
from wren_sessions import Sessions, SessionSaver


@pytest_asyncio.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    """An empty place for sessions."""
    opened = Backend(request.param, place(request.param, request))
    yield opened
    await opened.close()


@pytest.fixture(params=FACES)
def face(request: pytest.FixtureRequest) -> str:
    """Which methods of a saver are tested."""
    name: str = request.param
    return name


@pytest.fixture
def saver(backend: Backend, face: str) -> SessionSaver:
    """A saver; tests await its methods, whichever face they are."""
    return SAVERS[face](backend.store())


@pytest.fixture
def calls(backend: Backend, face: str) -> Calls:
    """One face of the sessions of a store."""
    return Calls(Sessions(backend.store()), face)
