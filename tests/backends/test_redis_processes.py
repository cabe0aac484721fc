"""Several processes and many threads on one Redis session: nothing acknowledged is lost."""

from __future__ import annotations

import subprocess
import sys

from wren_sessions.records import Span, Start
from wren_sessions.stores.redis import RedisStore

WRITER = """
import secrets, sys
from concurrent.futures import ThreadPoolExecutor
from wren_sessions.keys import write_key
from wren_sessions.records import Commit, Record, Write, Writes
from wren_sessions.stores.redis import RedisStore

store, name = RedisStore.from_url(sys.argv[1]), sys.argv[2]

def write(number):
    own = f"{name}-{number:03}"
    record = Record(name=("", own), parent_id=None, body=own.encode(), append=own.encode() * 50)
    entries = (Write(key=write_key(own, 0), body=own.encode()),)
    writes = Writes(name=("", "shared"), entries=entries)
    token = secrets.token_hex(8)
    done = store.commit(Commit(session="s", token=token, record=record, writes=writes))
    return f"{own} {done.base}"

with ThreadPoolExecutor(8) as pool:
    print(*pool.map(write, range(100)), sep="\\n")
store.close()
"""


def test_nothing_acknowledged_is_lost(redis_url: str) -> None:
    """Two processes of eight threads write two hundred records, their bytes and pending writes."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, redis_url, name], stdout=subprocess.PIPE, text=True
        )
        for name in ("a", "b")
    ]
    acknowledged = [line.split() for each in writers for line in each.communicate()[0].splitlines()]
    assert [each.returncode for each in writers] == [0, 0]
    assert len(acknowledged) == 200
    with RedisStore.from_url(redis_url) as store:
        found = {item.name[1]: item for item in store.scan("s", [Start("")], 1_000).records}
        assert found.keys() == {own for own, _ in acknowledged}
        for own, base in acknowledged:
            span = Span(int(base), len(own) * 50)
            arena = store.read("s", [span])
            assert arena is not None
            assert arena.get(span) == own.encode() * 50
        info = store.info("s")
        assert info is not None
        assert info.life.revision == 200
