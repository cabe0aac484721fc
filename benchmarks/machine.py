"""What a run ran on: the machine, the server, and the versions of all that takes part."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from redis import Redis

PACKAGES = ("wren-sessions", "langgraph", "langchain-core", "redis", "hiredis", "valkey", "psycopg")


def described(redis_url: str, packages: Iterable[str]) -> dict[str, Any]:
    """What this is.

    Args:
        redis_url: the Redis server of the run.
        packages: distributions of the peers.
    """
    with Redis.from_url(redis_url) as client:
        server: dict[str, Any] = client.info("server")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "server": f"{server.get('server_name', 'redis')} "
        f"{server.get('valkey_version', server['redis_version'])}",
        "reply parser": "hiredis" if find_spec("hiredis") else "redis-py's own",
        "packages": {name: _version(name) for name in sorted({*PACKAGES, *packages})},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
