"""Make the golden files of the present format: ``python tests/golden/make.py`` (needs a server).

Never make those of an earlier version again: they are what it wrote.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import redis

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from golden import content, values  # noqa: E402 -- found only now
from servers import start_server  # noqa: E402
from wren_sessions import FileStore, RedisStore, SafeSerializer, Sessions, SessionSaver  # noqa: E402
from wren_sessions.keys import DEFAULT_PREFIX  # noqa: E402


def make_redis(name: str, write: Callable[[SessionSaver], None]) -> None:
    """A session's key on Redis, field by field."""
    with start_server() as server, redis.Redis.from_url(server.url) as client:
        store = RedisStore.from_client(client)
        write(SessionSaver(store))
        fields = client.hgetall(store.keys.session_key(content.SESSION))
    text = {b64encode(name).decode(): b64encode(value).decode() for name, value in fields.items()}
    (HERE / name).write_text(json.dumps(text, indent=0, sort_keys=True) + "\n")


def write_noted(saver: SessionSaver) -> None:
    """The same session, with an owner and a title."""
    content.write(saver)
    Sessions(saver.store).annotate(content.SESSION, **content.NOTED)


def make_file() -> None:
    """A session file with the same session under two prefixes."""
    path = HERE / "v3.sqlite3"
    path.unlink(missing_ok=True)
    for prefix in (DEFAULT_PREFIX, content.TENANT):
        with FileStore(path, prefix=prefix) as store:
            write_noted(SessionSaver(store))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")  # one file, without -wal and -shm
        connection.execute("VACUUM")


def make_values() -> None:
    """Single values."""
    found = {
        name: b64encode(SafeSerializer().dumps_typed([value])[1]).decode()
        for name, value in values.VALUES.items()
    }
    (HERE / "v3.values.json").write_text(json.dumps(found, indent=0, sort_keys=True) + "\n")


if __name__ == "__main__":
    make_values()
    make_redis("v2.redis.json", content.write)
    make_redis("v2-noted.redis.json", write_noted)
    make_redis("v2-clocks.redis.json", content.write_clocks)
    make_file()
