"""Threads that serve a queue: every call is made, at once where a thread is to be had."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from itertools import count

import pytest

from wren_sessions.stores._workers import Workers

MOST = 4


@pytest.fixture
def workers() -> Iterator[Workers]:
    """Four threads at most."""
    workers = Workers(MOST)
    yield workers
    workers.shutdown()


def _meet(together: threading.Barrier, done: threading.Semaphore) -> None:
    together.wait()
    done.release()


def _number(numbers: Iterator[int], done: threading.Event) -> None:
    next(numbers)
    done.set()


def test_calls_run_at_the_same_time(workers: Workers) -> None:
    """As many as there may be threads, also where one has just become free."""
    for _ in range(50):
        together, done = threading.Barrier(MOST, timeout=30), threading.Semaphore(0)

        for _ in range(MOST):
            workers.start(partial(_meet, together, done))
        assert all(done.acquire(timeout=30) for _ in range(MOST))


@pytest.mark.parametrize("patience", [0.0, 0.000_1, 0.01])
def test_no_call_is_left(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    """Whether threads stay or leave at once, from however many threads the calls come."""
    monkeypatch.setattr("wren_sessions.stores._workers._PATIENCE_S", patience)
    numbers, made = count(), threading.Semaphore(0)

    def ask() -> None:
        for _ in range(500):
            done = threading.Event()
            workers.start(partial(_number, numbers, done))
            assert done.wait(30)
            workers.start(made.release)

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert all(made.acquire(timeout=30) for _ in range(1_500))
    assert next(numbers) == 1_500


def test_a_busy_thread_keeps_no_other_call_waiting(workers: Workers) -> None:
    """One that comes while a thread waits for something gets a thread of its own."""
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go_on.wait(30)

    workers.start(wait)
    assert begun.wait(30)
    workers.start(done.set)
    assert done.wait(30)
    go_on.set()


def test_what_was_given_is_done_after_the_end(workers: Workers) -> None:
    """Shutting down takes nothing back, and a thread that has work does the rest as well."""
    begun, go_on, done = threading.Event(), threading.Event(), threading.Semaphore(0)

    def wait() -> None:
        begun.set()
        go_on.wait(30)
        done.release()

    for _ in range(MOST):
        workers.start(wait)
    for _ in range(10):
        workers.start(done.release)
    assert begun.wait(30)
    workers.shutdown()
    go_on.set()
    assert all(done.acquire(timeout=30) for _ in range(MOST + 10))
