"""Fixtures for values."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from values.changing import App


@pytest.fixture
def app() -> Iterator[App]:
    """An application whose class changes."""
    yield App()
    del sys.modules["changing_app"]
