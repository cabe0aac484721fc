"""Several processes on one session file: at once, killed in the middle, and forked."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from wren_sessions.records import Start
from wren_sessions.stores.file import FileStore
from wren_sessions.testing.build import SESSION

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the session file will be."""
    return tmp_path / "sessions.db"


def start(script: str, path: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start a second process that runs a script on the file."""
    words = [sys.executable, "-c", PREAMBLE + script, str(path), *map(str, arguments)]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> list[str]:
    """The lines that a process printed until it ended well."""
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return printed.split()


PREAMBLE = """
import os, sys, threading
from wren_sessions.stores.file import FileStore
from wren_sessions.testing.build import SESSION, put
path = sys.argv[1]
store = FileStore(path, synchronous="normal")
"""

COMMITTING = """
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    name = f"{sys.argv[2]}{number:05}"
    assert store.commit(put(name, append=name.encode() * 100)).outcome == "done"
    print(name, flush=True)
"""


def check_content(path: Path, acknowledged: set[str]) -> None:
    """Make sure that the file is intact and that what was acknowledged is there, whole."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    with FileStore(path) as store:
        found = {stored.name[1]: stored for stored in scan(store)}
        assert found.keys() >= acknowledged
        for name, stored in found.items():
            parts = store.read(SESSION, stored.spans)
            assert parts is not None
            assert parts.get(stored.spans[0]) == name.encode() * 100
        spans = sorted(stored.spans[0] for stored in found.values())
        assert sum(span.length for span in spans) == (spans[-1].end if spans else 0)
        info = store.info(SESSION)
        assert info is not None
        assert info.life.revision == len(found)


def scan(store: FileStore) -> list:  # type: ignore[type-arg]
    """All records of the session."""
    return list(store.scan(SESSION, [Start("")], 100_000).records)


def test_processes_that_open_a_new_file_at_once_agree_on_it(path: Path) -> None:
    """Whoever is first makes the tables; nobody takes them for somebody else's."""
    processes = [start(COMMITTING, path, letter, 3) for letter in "abcdefgh"]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    acknowledged = {name for process in processes for name in finish(process)}
    assert len(acknowledged) == 24
    check_content(path, acknowledged)


def test_two_processes_write_one_session(path: Path) -> None:
    """What either process was told is stored is there, and no bytes of one are the other's."""
    processes = [start(COMMITTING, path, letter, 200) for letter in "ab"]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    acknowledged = {name for process in processes for name in finish(process)}
    assert len(acknowledged) == 400
    check_content(path, acknowledged)


@pytest.mark.parametrize("after", [1, 37, 150])
def test_a_killed_process_leaves_what_it_was_told(path: Path, after: int) -> None:
    """SIGKILL in the middle of writing: acknowledged commits are there, and none in part."""
    process = start(COMMITTING, path, "a", 1_000_000)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    acknowledged = {process.stdout.readline().strip() for _ in range(after)}
    process.kill()
    acknowledged |= {line.strip() for line in process.stdout if line.endswith("\n")}
    process.communicate()
    check_content(path, acknowledged)


INTERRUPTED = """
import signal
acknowledged, hits, done = set(), 0, False
def others(letter):
    for number in range(300):
        name = f"{letter}{number:03}"
        store.commit(put(name, append=name.encode() * 100))
        acknowledged.add(name)
def interrupt():
    while not done:
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(0.001)
threads = [threading.Thread(target=others, args=(letter,)) for letter in "abcd"]
threads.append(threading.Thread(target=interrupt))
number = 0
while not done:
    try:
        while threads and not threads[0].ident:
            for thread in threads:
                thread.start()
        while any(thread.is_alive() for thread in threads[:4]):
            number += 1
            name = f"m{number:05}"
            store.commit(put(name, append=name.encode() * 100))
            acknowledged.add(name)
        done = True
    except KeyboardInterrupt:
        hits += 1
signal.signal(signal.SIGINT, signal.SIG_IGN)
threads[4].join()
assert hits > 10, hits
assert number > 0
print(*acknowledged)
"""


@posix
def test_interrupts_lose_nothing_and_leave_nobody_waiting(path: Path) -> None:
    """Ctrl-C in the main thread, again and again: the other threads go on, nothing is lost."""
    acknowledged = set(finish(start(INTERRUPTED, path)))
    assert len(acknowledged) > 1_200
    check_content(path, acknowledged)


FORKING = """
store.commit(put("1"))
to_child, to_parent = os.pipe(), os.pipe()
child = os.fork()
if not child:
    store.commit(put("2"))
    os.write(to_parent[1], b".")
    os.read(to_child[0], 1)
    store.commit(put("3"))
    os._exit(0)
os.read(to_parent[0], 1)
store.close()
os.write(to_child[1], b".")
_, status = os.waitpid(child, 0)
assert status == 0
print(*(stored.name[1] for stored in scan(store)))
"""

SCAN = """
from wren_sessions.records import Start
def scan(store):
    return store.scan(SESSION, [Start("")], 100).records
"""


@posix
def test_a_forked_child_loses_nothing_when_its_parent_closes_the_file(path: Path) -> None:
    """A child opens connections of its own, and its locks are its own."""
    assert finish(start(SCAN + FORKING, path)) == ["3", "2", "1"]


FORKING_MEANWHILE = """
store.commit(put("0"))
writers, readers = [], []
for at in range(4):
    def write(at=at):
        for number in range(40):
            store.commit(put(f"{at}-{number:02}", append=bytes(5_000)))
    def read():
        for _ in range(80):
            store.load(SESSION)
    writers.append(threading.Thread(target=write))
    readers.append(threading.Thread(target=read))
for thread in writers + readers:
    thread.start()
for number in range(6):
    child = os.fork()
    if not child:
        store.commit(put(f"child-{number}"))
        assert store.load(SESSION, "", f"child-{number}") is not None
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0
for thread in writers + readers:
    thread.join()
names = {stored.name[1] for stored in store.scan(SESSION, [Start("")], 1_000).records}
print(len(names), sum(name.startswith("child") for name in names))
store.close()
"""


@posix
def test_a_fork_while_other_threads_use_the_store(path: Path) -> None:
    """A child can write at once, whatever its parent was doing; nobody loses anything."""
    assert finish(start(SCAN + FORKING_MEANWHILE, path)) == ["167", "6"]


FORKING_BEHIND_PYTHON = """
import ctypes
from wren_sessions.errors import StoreUnavailableError
if sys.argv[2] == "open":
    store.commit(put("1"))
child = ctypes.PyDLL(None).fork()
if not child:
    try:
        store.commit(put("2"))
    except StoreUnavailableError as error:
        os._exit(7 if "forked" in str(error) else 1)
    os._exit(0)
_, status = os.waitpid(child, 0)
store.commit(put("3"))
print(os.waitstatus_to_exitcode(status), *(stored.name[1] for stored in scan(store)))
"""


@posix
@pytest.mark.parametrize(
    ("state", "told"), [("open", ["7", "3", "1"]), ("closed", ["0", "3", "2"])]
)
def test_a_fork_that_python_does_not_see(path: Path, state: str, told: list[str]) -> None:
    """A child that inherited an open file refuses to use it; one that did not may go on."""
    assert finish(start(SCAN + FORKING_BEHIND_PYTHON, path, state)) == told


DISK_FULL = """
import resource, signal
from wren_sessions.errors import StoreUnavailableError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
for number in range(10_000):
    name = f"a{number:05}"
    try:
        store.commit(put(name, append=name.encode() * 100))
    except StoreUnavailableError as error:
        assert path in str(error), error
        break
    print(name, flush=True)
else:
    sys.exit("there is no limit here")
assert store.load(SESSION, "", "a00000") is not None
assert store.load(SESSION, "", name) is None
"""


@posix
def test_a_real_limit_of_the_file_system(path: Path) -> None:
    """Where the system refuses to write, all that was acknowledged before stays readable."""
    acknowledged = set(finish(start(DISK_FULL, path)))
    assert len(acknowledged) > 10
    check_content(path, acknowledged)
