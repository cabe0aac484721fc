"""Sessions that a version of the format wrote are read by every later one."""

from __future__ import annotations

import json
import shutil
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
import redis
from fakeredis import FakeRedis

from golden import content
from wren_sessions import FileStore, RedisStore, SessionSaver
from wren_sessions.keys import DEFAULT_PREFIX
from wren_sessions.records import SessionInfo

HERE = Path(__file__).parent


def restore(client: redis.Redis, file: str = "v1.redis.json") -> RedisStore:
    """Put the golden key on a server, and open it."""
    store = RedisStore.from_client(client)
    fields = json.loads((HERE / file).read_text())
    key = store.keys.session_key(content.SESSION)
    client.hset(key, mapping={b64decode(name): b64decode(fields[name]) for name in fields})
    client.expire(key, 3_600)
    return store


@pytest.mark.parametrize("file", ["v1.redis.json", "v2.redis.json"])
def test_every_version_is_read_from_redis(redis_url: str, file: str) -> None:
    """A real server gives back what a version wrote; version 1 has no counts."""
    with redis.Redis.from_url(redis_url) as client:
        content.check(SessionSaver(restore(client, file)))


@pytest.mark.parametrize("file", ["v1.redis.json", "v2.redis.json"])
def test_every_version_is_read_from_fakeredis(file: str) -> None:
    """So does fakeredis, where there is no server."""
    with FakeRedis() as client:
        content.check(SessionSaver(restore(client, file)))


@pytest.mark.parametrize("file", ["v1-clocks.redis.json", "v2-clocks.redis.json"])
def test_a_history_of_two_clocks_is_read(redis_url: str, file: str) -> None:
    """Records say that ids do not tell the order."""
    with redis.Redis.from_url(redis_url) as client:
        content.check_clocks(SessionSaver(restore(client, file)))


@pytest.mark.parametrize("prefix", [DEFAULT_PREFIX, content.TENANT])
def test_version_1_is_read_from_a_file(tmp_path: Path, prefix: str) -> None:
    """A session file of version 1, which knew no prefixes, is read with any."""
    shutil.copy(HERE / "v1.sqlite3", tmp_path / "sessions.db")
    with FileStore(tmp_path / "sessions.db", prefix=prefix) as store:
        content.check(SessionSaver(store))


@pytest.mark.parametrize("file", ["v2.sqlite3", "v2-named.sqlite3", "v3.sqlite3"])
@pytest.mark.parametrize("prefix", [DEFAULT_PREFIX, content.TENANT])
def test_later_versions_are_read_from_a_file(tmp_path: Path, prefix: str, file: str) -> None:
    """A session file is read, each prefix by itself, bound to names or not, counted or not."""
    shutil.copy(HERE / file, tmp_path / "sessions.db")
    with FileStore(tmp_path / "sessions.db", prefix=prefix) as store:
        content.check(SessionSaver(store))
        assert [info.session for info in store.list_sessions().sessions] == [content.SESSION]
    with FileStore(tmp_path / "sessions.db", prefix="golden") as store:
        assert store.list_sessions().sessions == ()


def check_noted(info: SessionInfo | None) -> None:
    """Owner, title, tags and attributes are there."""
    assert info is not None
    found = {name: getattr(info, name) for name in content.NOTED}
    assert found == {**content.NOTED, "tags": ("old",)}


@pytest.mark.parametrize("prefix", [DEFAULT_PREFIX, content.TENANT])
def test_what_is_noted_is_read_from_a_file(tmp_path: Path, prefix: str) -> None:
    """Each prefix lists its own."""
    shutil.copy(HERE / "v3.sqlite3", tmp_path / "sessions.db")
    with FileStore(tmp_path / "sessions.db", prefix=prefix) as store:
        check_noted(store.info(content.SESSION))
        (listed,) = store.list_owned("ann").sessions
        check_noted(listed)


def test_what_is_noted_is_read_from_redis(redis_url: str) -> None:
    """An owner's list that is lost comes back with the next write."""
    with redis.Redis.from_url(redis_url) as client:
        store = restore(client, "v2-noted.redis.json")
        check_noted(store.info(content.SESSION))
        assert store.list_owned("ann").sessions == ()
        saver = SessionSaver(store)
        content.check(saver)
        found = saver.get_tuple(content.config())
        assert found is not None
        saver.put_writes(found.config, [("turn_count", 1)], "task")
        (listed,) = store.list_owned("ann").sessions
        check_noted(listed)


@pytest.mark.redis_server
@pytest.mark.parametrize("file", ["v1.redis.json", "v2.redis.json"])
def test_every_version_is_gone_on_with(redis_url: str, file: str) -> None:
    """A session is written further, and stays of its version."""
    with redis.Redis.from_url(redis_url) as client:
        saver = SessionSaver(restore(client, file))
        found = saver.get_tuple(content.config())
        assert found is not None
        after = content.checkpoint(9, {"messages": content.messages(6), "turn_count": 9})
        saver.put(found.config, after, {"source": "loop", "step": 9}, after["channel_versions"])
        latest = saver.get_tuple(content.config())
        assert latest is not None
        assert latest.checkpoint == after
        meta: Any = client.hget(saver.store.keys.session_key(content.SESSION), ":meta")
        assert meta.split()[0] == file[1:2].encode()
