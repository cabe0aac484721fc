"""Pytest fixtures for applications that test without a server: a clock, a store, a checkpointer.

Name this module in the ``conftest.py`` at the root of the tests, and use the fixtures by name::

    pytest_plugins = ["wren_sessions.testing.fixtures"]

Each test gets its own sessions, in memory. Override `session_clock` to start at another time, or
`session_store` for another policy. The other fixtures use your override.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wren_sessions.protocols import SessionStore
from wren_sessions.stores.memory import MemoryStore
from wren_sessions.testing.clock import FakeClock

if TYPE_CHECKING:
    from wren_sessions.langgraph import SessionSaver


@pytest.fixture
def session_clock() -> FakeClock:
    """The clock of `session_store`. It stands still until you call `advance`."""
    return FakeClock()


@pytest.fixture
def session_store(session_clock: FakeClock) -> SessionStore:
    """An empty store in memory whose sessions live 24 hours after their last write."""
    return MemoryStore(clock=session_clock)


@pytest.fixture
def session_saver(session_store: SessionStore) -> SessionSaver:
    """A LangGraph checkpointer on `session_store`. Only this fixture imports langgraph."""
    from wren_sessions.langgraph import SessionSaver

    return SessionSaver(session_store)
