"""Every store does what the model does, whatever the commands."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from model.backends import Backend, InExample, InFile, OnFakeRedis, OnServer, fake_servers
from model.machine import StoreMachine
from model.order import OrderMachine

THOROUGH: Final = int(os.environ.get("WREN_TEST_THOROUGH", "1"))
"""How many times as many runs as usual: 100 takes an hour."""

STEPS: Final = 40


def run(
    make: Callable[[], Backend],
    runs: int,
    kind: Callable[[Backend], StoreMachine | OrderMachine] = StoreMachine,
) -> None:
    """Run the machine in many places, one after the other."""

    def machine() -> StoreMachine | OrderMachine:
        return kind(make())

    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]  # it is only called
        settings=settings(
            max_examples=runs * THOROUGH,
            stateful_step_count=STEPS,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def test_a_store_in_memory() -> None:
    """Sessions in memory are as the model has them."""
    run(Backend, 400)


def test_the_example_store() -> None:
    """Sessions in the store of ``examples/store`` are as the model has them."""
    run(InExample, 60)


def test_a_store_in_a_file(tmp_path: Path) -> None:
    """Sessions in a file are as the model has them."""
    numbers = count()
    run(lambda: InFile(tmp_path / f"{next(numbers)}.db"), 80)


def test_a_store_on_fakeredis() -> None:
    """Sessions on Redis are as the model has them, also as time passes."""
    with fake_servers() as clock:
        run(lambda: OnFakeRedis(clock), 60)


@pytest.mark.parametrize("awaited", [False, True], ids=["sync", "async"])
def test_a_store_on_a_server(redis_url: str, *, awaited: bool) -> None:
    """Sessions on a real server are as the model has them, on both faces."""
    run(lambda: OnServer(redis_url, awaited=awaited), 25)


def test_the_latest_in_memory() -> None:
    """Whatever the clocks of the machines, the latest is one thing."""
    run(Backend, 60, OrderMachine)


def test_the_latest_in_a_file(tmp_path: Path) -> None:
    """The same in a file."""
    numbers = count()
    run(lambda: InFile(tmp_path / f"{next(numbers)}.db"), 20, OrderMachine)


def test_the_latest_on_a_server(redis_url: str) -> None:
    """The same on a real server."""
    run(lambda: OnServer(redis_url, awaited=False), 20, OrderMachine)
