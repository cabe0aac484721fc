"""Servers that speak Redis's protocol and are not quite Redis."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest
import redis
from fakeredis import FakeRedis, FakeServer
from fakeredis.commands_mixins import scripting_mixin

from wren_sessions.errors import StoreUnavailableError
from wren_sessions.records import Name, Span, Start
from wren_sessions.stores.redis import RedisStore
from wren_sessions.stores.redis.plans import Plan
from wren_sessions.stores.redis.threads import ThreadPipelines
from wren_sessions.testing.build import SESSION, add, prune, put, write

MOST_ARGUMENTS: Final = 3_900
SEGMENT_BYTES: Final = 2_032
MISSING: Final = ("copy", "memory|usage", "pexpiretime", "config", "info")


def fill(store: RedisStore) -> None:
    """Some of everything that a session has."""
    for number in range(5):
        store.commit(
            put(f"{number}", parent=f"{number - 1}" if number else None, append=b"x" * 3_000)
        )
    for number in range(3):
        store.commit(put(f"{number}", ns=f"child:{number}"))
        store.commit(
            add("4", write("task", number, b"plain"), write("task", -3, b"asked", replaces=True))
        )
        store.commit(add("4", write(f"task {number}", -4, b"answer", replaces=True)))


def read_all(store: RedisStore, session: str = SESSION) -> tuple[object, ...]:
    """What it holds, but for its lives."""
    loaded, heads = store.load(session), store.heads(session)
    assert loaded is not None
    pages, starts = [], tuple(Start(namespace) for namespace, _ in heads)
    while starts:
        page = store.scan(session, starts, 2)
        pages.append((page.records, page.heads))
        starts = page.rest
    arena = loaded.arena and [loaded.arena.get(span) for span in loaded.stored.spans]
    return loaded.stored, arena, loaded.state, heads, pages


@pytest.fixture
def store() -> Iterator[RedisStore]:
    """A store on a fake server, with the Lua that this process has loaded: it can have but one."""
    with FakeRedis(server=FakeServer()) as client, RedisStore.from_client(client) as store:
        yield store


def test_scripts_run_on_the_lua_of_other_engines() -> None:
    """The tests of this file that run Lua pass with Lua 5.4, too."""
    if scripting_mixin.LUA_VERSION == "5.4":
        pytest.skip("this is that run")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        __file__,
        "-k",
        "lua",
    ]
    environment = os.environ | {"FAKEREDIS_LUA_VERSION": "5.4"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    assert "2 passed, 1 skipped" in ran.stdout


def test_lua_writes_lists_copies_and_prunes(store: RedisStore) -> None:
    """A session is not reported as damaged by any script."""
    fill(store)
    before = read_all(store)
    assert store.copy(SESSION, "copy") is not None
    assert read_all(store, "copy") == before
    assert [name for name, _ in store.heads(SESSION)] == ["", "child:0", "child:1", "child:2"]
    life = store.touch(SESSION)
    done = store.prune(prune(life, *(("", f"{n}") for n in range(4)), free=(Span(0, 12_000),)))
    assert done.outcome == "done"
    page = store.scan(SESSION, [Start("")], 10)
    assert [stored.name[1] for stored in page.records] == ["4"]
    for call in (store.touch, store.pin, store.info):
        assert call(SESSION) is not None
    assert {found.session for found in store.list_sessions().sessions} == {SESSION, "copy"}


def test_lua_writes_whole_numbers(store: RedisStore) -> None:
    """No field is called ``:a1.0``, and no number in a field ends in ``.0``."""
    fill(store)
    client: Any = store._blocking_client()
    fields = client.hgetall(f"langgraph:checkpoint:{SESSION}:latest")
    assert b":a1" in fields
    assert not [(name, value) for name, value in fields.items() if b".0" in name or b".0" in value]


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many arguments each command had, of the store and of its scripts."""
    found: list[int] = []
    send, call = ThreadPipelines.send, scripting_mixin.ScriptingCommandsMixin._lua_redis_call

    def sending(self: ThreadPipelines, plan: Plan[Any]) -> Any:
        found.extend(len(command) for command in plan.commands)
        return send(self, plan)

    def calling(self: Any, runtime: Any, known: Any, *command: Any) -> Any:
        found.append(len(command))
        return call(self, runtime, known, *command)

    monkeypatch.setattr(ThreadPipelines, "send", sending)
    monkeypatch.setattr(scripting_mixin.ScriptingCommandsMixin, "_lua_redis_call", calling)
    return found


def test_no_command_has_more_arguments_than_servers_take(
    store: RedisStore, sizes: list[int]
) -> None:
    """However many namespaces, checkpoints, pending writes and bytes there are: at most 3,900."""
    many, length = 4_500, 4_500 * SEGMENT_BYTES
    store.commit(put("0", append=bytes(length)))
    asked = [write(f"task {n}", -3, b"%d" % n, replaces=True) for n in range(many)]
    store.commit(add("0", *asked))
    first = store.load(SESSION)
    assert first is not None
    assert len(first.stored.writes) == many
    parts = store.read(SESSION, [Span(0, length)])
    assert parts is not None
    assert parts.get(Span(0, length)) == bytes(length)
    names: list[Name] = [("", f"{n}") for n in range(many)]
    store.scan(SESSION, [Start(*name) for name in names], 1)
    life = store.touch(SESSION)
    done = store.prune(prune(life, *names, free=(Span(0, length),)))
    assert (done.outcome, store.heads(SESSION)) == ("done", ())
    assert max(sizes) > 3_000
    assert max(sizes) <= MOST_ARGUMENTS


@pytest.fixture
def limited(redis_url: str) -> Iterator[str]:
    """The URL of a user whom the server refuses what some engines lack."""
    with redis.Redis.from_url(redis_url) as admin:
        rules = [f"-{name}" for name in MISSING]
        admin.execute_command("ACL", "SETUSER", "some", "reset", "on", ">pw", "~*", "+@all", *rules)
        yield redis_url.replace("redis://", "redis://some:pw@")
        admin.execute_command("ACL", "DELUSER", "some")


def test_what_an_engine_lacks_is_done_otherwise(limited: str, redis_url: str) -> None:
    """Without COPY, MEMORY USAGE, PEXPIRETIME, CONFIG and INFO, sessions are what they are."""
    with RedisStore.from_url(limited) as store, RedisStore.from_url(redis_url) as whole:
        fill(store)
        before = read_all(store)
        for there in (store, whole):
            life = there.copy(SESSION, "copy", replace=True, state=b'{"other": 1}')
            assert life is not None
            assert life.deadline_ms is not None
            assert read_all(there, "copy") == (*before[:2], b'{"other": 1}', *before[3:])
        found = store.info(SESSION)
        assert found is not None
        assert found.size_bytes is None
        assert store.diagnose().trouble is None


def test_a_copy_without_room_leaves_what_is_there(limited: str, redis_url: str) -> None:
    """A server without COPY that is out of memory keeps the session that was to be replaced."""
    with redis.Redis.from_url(redis_url) as admin, RedisStore.from_url(limited) as store:
        fill(store)
        store.commit(put("9", session="other"))
        try:
            admin.config_set("maxmemory", "1")
            with pytest.raises(StoreUnavailableError, match="out of memory"):
                store.copy(SESSION, "other", replace=True)
        finally:
            admin.config_set("maxmemory", "0")
        assert store.heads("other") == (("", "9"),)
