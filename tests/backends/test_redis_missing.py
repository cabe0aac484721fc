"""Fields of a session that are gone on Redis: what is not there is a miss only if it never was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import redis

from wren_sessions.errors import CorruptSessionError
from wren_sessions.records import Committed, Start
from wren_sessions.stores.redis import RedisStore
from wren_sessions.testing.build import add, prune, put, write

SESSION: Final = "missing"
KEY: Final = f"langgraph:checkpoint:{SESSION}:latest"
ROOT: Final = [Start("")]

pytestmark = pytest.mark.redis_server


@pytest.fixture
def server(redis_url: str) -> Iterator[redis.Redis]:
    """A client with which to do damage."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisStore]:
    """The store."""
    with RedisStore.from_url(redis_url) as opened:
        yield opened


def written(store: RedisStore) -> Committed:
    """Three checkpoints, each with pending writes but the latest, and a namespace made last."""
    for number in "123":
        store.commit(put(number, parent=str(int(number) - 1), session=SESSION, append=b"x" * 99))
        if number != "3":
            store.commit(add(number, write("a", 0, b"one"), session=SESSION))
            store.commit(add(number, write("b", 0, b"two"), session=SESSION))
            store.commit(add(number, write("c", -3, b"asks", replaces=True), session=SESSION))
    store.commit(put("1", ns="child", session=SESSION))
    return store.commit(add("3", write("a", 0, b"one"), session=SESSION))


CALLS: Final[dict[str, Callable[[RedisStore, Committed], Any]]] = {
    "load": lambda store, _: store.load(SESSION),
    "scan": lambda store, _: store.scan(SESSION, ROOT, 10),
    "heads": lambda store, _: store.heads(SESSION),
    "put": lambda store, _: store.commit(put("9", session=SESSION)),
    "prune": lambda store, last: store.prune(prune(last.life, ("", "1"), session=SESSION)),
    "copy": lambda store, _: store.copy(SESSION, "copy"),
    "info": lambda store, _: store.info(SESSION),
}


@pytest.mark.parametrize("call", [call for call in CALLS if call != "info"])
def test_a_head_that_is_gone_is_damage(server: redis.Redis, store: RedisStore, call: str) -> None:
    """Also that of a namespace that is not the one made last: nothing begins anew on top of it."""
    last = written(store)
    server.hdel(KEY, ":head/")
    before = server.hgetall(KEY)
    with pytest.raises(CorruptSessionError, match=":head/"):
        CALLS[call](store, last)
    assert server.hgetall(KEY) == before
    assert store.load("another") is None


def test_every_head_gone(server: redis.Redis, store: RedisStore) -> None:
    """What is known of the session is damage as well."""
    written(store)
    server.hdel(KEY, ":head/", ":head/child")
    with pytest.raises(CorruptSessionError, match=":head/child"):
        store.info(SESSION)


@pytest.mark.parametrize("call", CALLS)
def test_a_session_without_its_life_is_damaged(
    server: redis.Redis, store: RedisStore, call: str
) -> None:
    """It is told from the hash of somebody else, which a user may rename."""
    last = written(store)
    server.hdel(KEY, ":meta")
    with pytest.raises(CorruptSessionError, match=r"its field ':meta' is damaged"):
        CALLS[call](store, last)


def test_a_namespace_that_never_was_is_a_miss(store: RedisStore) -> None:
    """As long as no field is missing."""
    written(store)
    assert store.load(SESSION, "other") is None
    assert store.load(SESSION, "", "2x") is None
    assert store.scan(SESSION, [Start("other")], 10).records == ()
    assert store.commit(put("1", ns="other", session=SESSION)).outcome == "done"


@pytest.mark.parametrize("lost", ["3", "2", "1"])
def test_a_log_that_is_gone_is_damage(server: redis.Redis, store: RedisStore, lost: str) -> None:
    """Of the latest checkpoint or of an earlier one, by its id or in a list."""
    written(store)
    assert store.load(SESSION, "", lost) is not None
    server.hdel(KEY, f":w//{lost}")
    for call in (
        lambda: store.load(SESSION, "", lost),
        lambda: store.scan(SESSION, ROOT, 10),
        lambda: store.scan(SESSION, [Start("", f"{lost}%00")], 1),
        lambda: store.scan(SESSION, [Start("", f"{lost}\0")], 1),
    ):
        with pytest.raises(CorruptSessionError, match=f":w//{lost}"):
            call()
    if lost == "3":
        with pytest.raises(CorruptSessionError, match=":w//3"):
            store.load(SESSION)
        with pytest.raises(CorruptSessionError, match=":w//3"):
            store.commit(add("3", write("b", 0, b"anew"), session=SESSION))
    else:
        assert store.load(SESSION) is not None
        assert len(store.scan(SESSION, ROOT, 3 - int(lost)).records) == 3 - int(lost)


def test_a_log_that_was_shorter_before(server: redis.Redis, store: RedisStore) -> None:
    """A log put back as it was before its last commits is noticed: it only grows."""
    written(store)
    earlier: Any = server.hget(KEY, ":w//3")
    store.commit(add("3", write("b", 0, b"two"), session=SESSION))
    server.hset(KEY, ":w//3", earlier)
    for call in (
        lambda: store.load(SESSION),
        lambda: store.scan(SESSION, ROOT, 10),
        lambda: store.commit(add("3", write("c", 0, b"three"), session=SESSION)),
    ):
        with pytest.raises(CorruptSessionError, match=":w//3"):
            call()
    store.commit(put("4", parent="3", session=SESSION))
    assert store.load(SESSION) is not None
    with pytest.raises(CorruptSessionError, match=":w//3"):
        store.scan(SESSION, ROOT, 10)


@pytest.mark.parametrize("lost", ["3", "2", "1"])
def test_a_record_that_is_gone_is_damage(server: redis.Redis, store: RedisStore, lost: str) -> None:
    """It is no miss to who asks for it by its id, and nothing is written in its place."""
    written(store)
    server.hdel(KEY, lost)
    with pytest.raises(CorruptSessionError, match=f"'{lost}'"):
        store.load(SESSION, "", lost)
    if lost != "3":
        assert store.load(SESSION) is not None


def test_late_and_early_writes(store: RedisStore) -> None:
    """Writes before their checkpoint, or after the next one, are counted with the rest."""
    store.commit(put("1", session=SESSION))
    store.commit(add("2", write("a", 0, b"early"), session=SESSION))
    store.commit(put("2", parent="1", session=SESSION))
    store.commit(add("1", write("a", 0, b"late"), session=SESSION))
    store.commit(put("3", parent="2", session=SESSION))
    store.commit(put("2b", parent="2", session=SESSION))
    store.commit(add("2b", write("a", 0, b"between"), session=SESSION))
    found = store.scan(SESSION, ROOT, 10)
    assert [(r.name[1], len(r.writes)) for r in found.records] == [
        ("3", 0),
        ("2b", 1),
        ("2", 1),
        ("1", 1),
    ]
    assert all(store.load(SESSION, "", id_) for id_ in ("1", "2", "2b", "3"))


def test_a_prune_keeps_count(server: redis.Redis, store: RedisStore) -> None:
    """What it leaves is known to be whole, and what goes afterwards is noticed."""
    last = written(store)
    drop = ("", "2"), ("", "3")
    pruned = store.prune(prune(last.life, *drop, session=SESSION, heads=(("", "1"),)))
    assert pruned.outcome == "done"
    assert store.load(SESSION, "", "3") is None
    found = store.load(SESSION)
    assert found is not None
    assert (found.stored.name[1], len(found.stored.writes)) == ("1", 3)
    assert store.copy(SESSION, "copy", state=b"{}") is not None
    assert store.load("copy", "other") is None
    server.hdel(KEY, ":w//1")
    with pytest.raises(CorruptSessionError, match=":w//1"):
        store.load(SESSION)


@pytest.mark.parametrize("part", [b"-", b"0", b"1"])
def test_a_planted_number_overwrites_no_part(
    server: redis.Redis, store: RedisStore, part: bytes
) -> None:
    """A log that says that it has fewer parts than there are is not gone on with."""
    store.commit(put("1", session=SESSION))
    for number in range(4):
        store.commit(add("1", write(f"{number}", 0, b"x" * 600), session=SESSION))
    line: Any = server.hget(KEY, ":w//1")
    server.hset(KEY, ":w//1", part + line[1:])
    before = server.hgetall(KEY)
    with pytest.raises(CorruptSessionError, match=":w//1"):
        store.commit(add("1", write("n", 0, b"x" * 600), session=SESSION))
    assert server.hgetall(KEY) == before
