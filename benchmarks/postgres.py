"""A PostgreSQL server of a benchmark's own, on a free loopback port, with a temporary folder.

It does not wait for the disk (``fsync`` and ``synchronous_commit`` are off), as the Redis server it
is compared with keeps nothing on disk at all. PostgreSQL refuses to run as root; then it is run as
the user ``postgres``.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from benchmarks.servers import HOST, PATIENCE_S, POLL_S, free_port

OPTIONS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=300")


class PostgresMissingError(Exception):
    """PostgreSQL cannot be run here."""


def _executable(name: str) -> str:
    folders = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *folders]))
    if found is None:
        raise PostgresMissingError(f"PostgreSQL is not installed: there is no {name!r}")
    return found


def _user() -> str | None:
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        raise PostgresMissingError("PostgreSQL does not run as root, nor is there a user") from None


def address(port: int, database: str = "postgres") -> str:
    """How to connect to a database."""
    return f"postgresql://wren@{HOST}:{port}/{database}?sslmode=disable"


@contextmanager
def postgres_server() -> Iterator[int]:
    """Start a server; gives its port, and stops it at the end.

    Raises:
        PostgresMissingError: PostgreSQL, or psycopg, is not there, or does not start.
    """
    try:
        psycopg = import_module("psycopg")
    except ImportError as error:
        raise PostgresMissingError(f"psycopg is not installed ({error})") from error
    initdb, postgres, user, port = (
        _executable("initdb"),
        _executable("postgres"),
        _user(),
        free_port(),
    )
    with tempfile.TemporaryDirectory(prefix="wren-benchmark-", ignore_cleanup_errors=True) as name:
        if user is not None:
            shutil.chown(name, user)
        data = str(Path(name, "data"))
        command = [initdb, "-D", data, "-A", "trust", "-U", "wren", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, cwd=name, user=user)
        settings = [part for option in OPTIONS for part in ("-c", option)]
        process = subprocess.Popen(
            [postgres, "-D", data, "-k", name, "-h", HOST, "-p", str(port), *settings],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=name,
            user=user,
        )
        try:
            _wait_for(psycopg, port, process)
            yield port
        finally:
            process.terminate()
            process.wait()


def _wait_for(psycopg: object, port: int, process: subprocess.Popen[bytes]) -> None:
    connect = getattr(psycopg, "connect")  # noqa: B009 -- psycopg is optional, so it has no type
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            connect(address(port)).close()
        except getattr(psycopg, "OperationalError"):  # noqa: B009
            if process.poll() is not None or time.monotonic() > deadline:
                raise PostgresMissingError("PostgreSQL does not start") from None
            time.sleep(POLL_S)
        else:
            return


def new_database(port: int, name: str) -> str:
    """Make an empty database, and say how to connect to it."""
    psycopg = import_module("psycopg")
    with psycopg.connect(address(port), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return address(port, name)


def drop_database(port: int, name: str) -> None:
    """Drop a database and all that is in it."""
    psycopg = import_module("psycopg")
    with psycopg.connect(address(port), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def stored_bytes(at: str) -> int:
    """What all tables of a database take, with their indexes."""
    psycopg = import_module("psycopg")
    with psycopg.connect(at) as connection:
        row = connection.execute(
            "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class "
            "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchone()
    return int(row[0])
