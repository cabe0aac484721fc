"""Locks that an interrupted holder does not keep, and that are free in a forked child."""

from __future__ import annotations

import os
import threading

import pytest

from remedies.proposals import tries
from wren_sessions._blocking import Lock
from wren_sessions.errors import SessionExistsError, StoreUnavailableError


def take(lock: Lock) -> None:
    """Take a lock as a call does that is interrupted behind it, for good."""
    lock.__enter__()


def in_thread(call: object, *args: object) -> None:
    """Make a call in another thread, and wait for it."""
    thread = threading.Thread(target=call, args=args)  # type: ignore[arg-type]
    thread.start()
    thread.join()


def test_a_lock_that_was_left_is_taken_over_by_the_same_thread() -> None:
    """The thread that was interrupted goes on."""
    lock = Lock()
    take(lock)
    with lock:
        assert lock.locked()
    assert not lock.locked()


def test_a_lock_that_was_left_is_taken_over_by_another_thread() -> None:
    """The others go on as well."""
    lock, entered = Lock(), []
    take(lock)

    def enter() -> None:
        with lock:
            entered.append(threading.get_ident())

    in_thread(enter)
    assert len(entered) == 1


def test_a_holder_that_did_not_leave_its_name_is_not_waited_for() -> None:
    """It may be interrupted between taking the lock and saying so."""
    lock = Lock()
    lock._lock.acquire()
    with lock:
        assert lock.locked()


def test_a_holder_at_work_is_waited_for() -> None:
    """However long it takes, while its call runs the lock is its own."""
    lock, held, done, order = Lock(), threading.Event(), threading.Event(), []

    def hold() -> None:
        with lock:
            held.set()
            done.wait()
            order.append("holder")

    def enter() -> None:
        with lock:
            order.append("waiter")

    holder, waiter = threading.Thread(target=hold), threading.Thread(target=enter)
    holder.start()
    held.wait()
    waiter.start()
    assert not lock.release_if_left()
    waiter.join(timeout=0.3)
    done.set()
    holder.join()
    waiter.join()
    assert order == ["holder", "waiter"]


@pytest.mark.parametrize("how", ["left", "raised"])
def test_what_was_interrupted_is_repaired_first(how: str) -> None:
    """The next holder sees it whole, and a repair that is interrupted is made again."""
    repairs: list[str] = []

    def repair() -> None:
        repairs.append("repair")
        if len(repairs) == 1:
            raise KeyboardInterrupt

    lock = Lock(repair)
    if how == "left":
        take(lock)
    else:
        with pytest.raises(KeyboardInterrupt), lock:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), lock:
        raise AssertionError("entered before it was repaired")
    for _ in range(2):
        with lock:
            assert repairs == ["repair", "repair"]


def test_a_refusal_needs_no_repair() -> None:
    """An error of this package is raised before anything is changed."""
    lock = Lock(pytest.fail)
    with pytest.raises(SessionExistsError), lock:
        raise SessionExistsError("there", session="there")
    with lock:
        pass


@tries("Let the handler set a flag, and make the call behind it")
def test_a_thread_does_not_wait_for_itself() -> None:
    """A signal handler that calls what it interrupted is told so; behind it, the call works."""
    lock = Lock()
    with lock, pytest.raises(StoreUnavailableError, match="signal handler"), lock:
        pass
    with lock:
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_child_has_locks_of_its_own() -> None:
    """What another thread held is free and repaired there, and what forked keeps its own."""
    repaired: list[str] = []
    busy, free, own = Lock(lambda: repaired.append("busy")), Lock(), Lock()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with busy:
            held.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    free._lock.acquire()  # by a thread that has not left its name yet
    with own:
        child = os.fork()
        if child == 0:
            threading.Timer(10, lambda: os._exit(2)).start()
            with busy, free:
                os._exit(0 if repaired == ["busy"] and own.locked() else 1)
    done.set()
    holder.join()
    assert os.waitpid(child, 0)[1] == 0
