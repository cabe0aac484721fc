"""A thread goes from LangGraph's PostgreSQL saver to every backend and back, on a real server.

The server is started here, on a Unix socket in a temporary folder, where PostgreSQL is installed
(``initdb`` and ``postgres`` on the PATH or below ``/usr/lib/postgresql``). It refuses to run as
root: then it is run as the user ``postgres``.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from moving.apps import THREAD, aheld, grow_up, held, latest, next_step, talk
from saver.backends import Backend
from servers import unavailable
from wren_sessions import (
    MemoryStore,
    SessionSaver,
    aimport_checkpoints,
    copy_sessions,
    import_checkpoints,
)

START_TIMEOUT_S = 30.0


def executable(name: str) -> str | None:
    """Find a program of PostgreSQL's server."""
    folders = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *folders]))


def user() -> str | None:
    """The user that runs the server; None for this one."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        unavailable("PostgreSQL does not run as root, and there is no user 'postgres'")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an empty PostgreSQL server."""
    initdb, postgres = executable("initdb"), executable("postgres")
    if initdb is None or postgres is None:
        pytest.skip("PostgreSQL is not installed")
    if not (find_spec("psycopg") and find_spec("langgraph.checkpoint.postgres")):
        unavailable("PostgreSQL needs psycopg[binary] and langgraph-checkpoint-postgres")
    runner = user()
    with tempfile.TemporaryDirectory(prefix="wren-postgres-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if runner is not None:
            shutil.chown(folder, runner)
        data = str(folder / "data")
        subprocess.run(
            [initdb, "-D", data, "-A", "trust", "-U", "wren", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=folder,
            user=runner,
        )
        process = subprocess.Popen(
            [postgres, "-D", data, "-k", name, "-h", "", "-F"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            user=runner,
        )
        try:
            address = f"host={name} user=wren dbname=postgres"
            wait_for(address, process)
            yield address
        finally:
            process.terminate()
            process.wait()


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers."""
    psycopg = pytest.importorskip("psycopg")
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(address).close()
        except psycopg.OperationalError:
            assert process.poll() is None, "the server ended at once"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.05)
        else:
            return


def new_database(server: str) -> str:
    """The address of an empty database."""
    psycopg = pytest.importorskip("psycopg")
    name = f"test_{secrets.token_hex(8)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.replace("dbname=postgres", f"dbname={name}")


@pytest.fixture
def database(server: str) -> str:
    """An empty database."""
    return new_database(server)


def opened(stack: ExitStack, database: str) -> Any:
    """LangGraph's saver on a database."""
    module = pytest.importorskip("langgraph.checkpoint.postgres")
    saver = stack.enter_context(module.PostgresSaver.from_conn_string(database))
    saver.setup()
    return saver


def test_there_and_back(database: str, backend: Backend) -> None:
    """History, state, pending writes and next step of a thread with everything are equal."""
    with ExitStack() as stack:
        source = opened(stack, database)
        grow_up(source)
        talk(source, 12)
        here, store = SessionSaver(backend.store()), backend.store()
        report = import_checkpoints(source, here)
        expected = held(source)
        assert report.written == len(expected)
        assert held(here) == expected
        namespaces = {namespace for namespace, _ in expected}
        assert latest(here, namespaces) == latest(source, namespaces)
        copy_sessions(store, elsewhere := MemoryStore())
        source.delete_thread("t")
        assert import_checkpoints(SessionSaver(elsewhere), source).written == len(expected)
        assert held(source) == expected
        assert import_checkpoints(source, here).skipped == len(expected)
        assert next_step(source) == next_step(here)


def test_a_thousand_checkpoints(server: str, database: str) -> None:
    """A thread of 1,000 checkpoints goes from PostgreSQL to a session and to another database."""
    with ExitStack() as stack:
        source, back = opened(stack, new_database(server)), opened(stack, database)
        talk(source, 250)
        import_checkpoints(source, here := SessionSaver(MemoryStore()))
        assert import_checkpoints(here, back).written == 1_000
        assert held(back) == held(here) == held(source)
        assert next_step(back) == next_step(here) == next_step(source)


async def test_awaited(database: str, backend: Backend) -> None:
    """The asynchronous saver moves as the blocking one does."""
    module = pytest.importorskip("langgraph.checkpoint.postgres.aio")
    async with module.AsyncPostgresSaver.from_conn_string(database) as source:
        await source.setup()
        talk(first := SessionSaver(MemoryStore()), 5)
        await aimport_checkpoints(first, source)
        await aimport_checkpoints(source, here := SessionSaver(backend.store()))
        assert await aheld(here) == await aheld(source)
        assert [item.checkpoint["id"] async for item in source.alist(THREAD)]
