"""`Sessions` that many use at once do what the model does, whatever the order of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from model.backends import Backend, InFile, OnFakeRedis, OnServer, fake_servers
from model.shared import SharedMachine
from model.test_store_model import THOROUGH
from wren_sessions.protocols import SessionStore
from wren_sessions.serializers.encryption import Encryption
from wren_sessions.stores.protected import ProtectedStore

KEYS = Encryption([Encryption.generate_key()])


def run(make: Callable[[], SharedMachine], runs: int) -> None:
    """Run the machine in many places, one after the other."""
    run_state_machine_as_test(
        make,  # type: ignore[arg-type]  # it is only called
        settings=settings(
            max_examples=runs * THOROUGH,
            stateful_step_count=12,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def sealed(store: SessionStore) -> SessionStore:
    """A store with encryption."""
    return ProtectedStore(store, encryption=KEYS)


def test_sessions_in_memory() -> None:
    """What one loads and saves is as if nobody else were there, or it is told."""
    run(lambda: SharedMachine(Backend()), 200)


def test_sessions_to_await() -> None:
    """The same on the asynchronous face."""
    run(lambda: SharedMachine(Backend(), asyncio.Runner()), 60)


def test_encrypted_sessions() -> None:
    """The same where a store encrypts."""
    run(lambda: SharedMachine(Backend(), wrap=sealed), 60)


def test_sessions_in_a_file(tmp_path: Path) -> None:
    """The same in a file."""
    numbers = count()
    run(lambda: SharedMachine(InFile(tmp_path / f"{next(numbers)}.db")), 40)


def test_sessions_on_fakeredis() -> None:
    """The same on Redis."""
    with fake_servers() as clock:
        run(lambda: SharedMachine(OnFakeRedis(clock)), 40)


@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
def test_sessions_on_a_server(redis_url: str, *, awaited: bool) -> None:
    """The same on a real server, on both faces."""
    run(
        lambda: SharedMachine(
            OnServer(redis_url, awaited=False), asyncio.Runner() if awaited else None
        ),
        20,
    )
