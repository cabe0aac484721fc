"""A process forks while its threads are at work: the child starts with nothing of theirs."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Final

import pytest

from backends.processes import run_code

CHILD: Final = """
import asyncio, os, signal, sys, threading, warnings
from backends.interrupts import Talk, held
from wren_sessions import Encryption, SessionSaver, open_store
from wren_sessions._blocking import Lock, _renewed

warnings.simplefilter("ignore", DeprecationWarning)  # of forks, from Python 3.12 on
encryption = Encryption(Encryption.generate_key()) if sys.argv[2] else None
store = open_store(sys.argv[1], encryption=encryption)
saver = SessionSaver(store)
talk = Talk(saver, "before")
kept = [talk.put(), talk.put()]

async def found(saver):
    return (await saver.aget_tuple(kept[-1][0])).checkpoint["channel_values"]["messages"]

assert asyncio.run(found(saver)) == kept[-1][1]
locks = [thing for thing in list(_renewed) if isinstance(thing, Lock)]
assert len(locks) >= 4

def use():
    assert held(saver, kept[0][0]) == kept[0][1]
    kept.append(talk.put())
    other = Talk(saver, f"of {os.getpid()}")
    config, messages = other.put()
    assert held(saver, config) == messages
    assert asyncio.run(found(saver)) == kept[-1][1]
    store.touch("before"), store.list_sessions(), store.close()
    assert held(SessionSaver(store), config) == messages

def holding(lock):
    "Fork while another thread holds a lock, and use everything in the child."
    there, done = threading.Event(), threading.Event()

    def hold():
        with lock:
            there.set()
            done.wait(0.5)  # a fork waits for who is about to shut a file

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    there.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        use()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    done.set()
    thread.join()
    return status

statuses = [holding(lock) for lock in locks]
talk = Talk(saver, "after")
talk.put()
use()
print(len(locks), set(statuses))
"""


@pytest.mark.parametrize(
    ("kind", "sealed"), [*product(("memory", "file", "redis"), ("", "sealed")), ("cluster", "")]
)
def test_a_child_inherits_no_lock(
    kind: str, sealed: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Whichever of a store's, a saver's and a cache's locks a thread of the parent holds."""
    urls = {"memory": "memory://", "file": f"file:{tmp_path}/s.db"}
    url = urls.get(kind) or request.getfixturevalue(f"{kind}_url")
    assert run_code(CHILD, url, sealed).split()[1:] == ["{0}"]
