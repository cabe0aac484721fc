"""Fixtures of the adapters' tests: sessions on every backend."""

from __future__ import annotations

import pytest

from saver.backends import Backend
from saver.fixtures import backend, face
from wren_sessions import Sessions

__all__ = ["backend", "face"]


@pytest.fixture
def sessions(backend: Backend) -> Sessions:
    """Sessions of a store on it."""
    return Sessions(backend.store())
