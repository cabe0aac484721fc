"""Fixtures of the saver's tests: every backend, both faces."""

from __future__ import annotations

import pytest

from saver.backends import SAVERS, Backend
from saver.calls import Calls
from saver.fixtures import backend, face
from wren_sessions import Sessions, SessionSaver

__all__ = ["backend", "face"]


@pytest.fixture
def saver(backend: Backend, face: str) -> SessionSaver:
    """A saver; tests await its methods, whichever face they are."""
    return SAVERS[face](backend.store())


@pytest.fixture
def calls(backend: Backend, face: str) -> Calls:
    """One face of the sessions of a store."""
    return Calls(Sessions(backend.store()), face)
