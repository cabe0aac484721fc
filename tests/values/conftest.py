"""Fixtures for values."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator

import pytest

from values.changing import App


@pytest.fixture
def app() -> Iterator[App]:
    """An application whose class changes."""
    yield App()
    del sys.modules["changing_app"]


@pytest.fixture(scope="module")
def few_objects() -> None:
    """Have the collections of a module's tests look at what its own tests made, which is quick."""
    gc.collect()
    gc.freeze()
