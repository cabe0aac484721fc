"""Arguments of the wrong type: told at once, in plain words, without what may be secret."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from langgraph.checkpoint.memory import InMemorySaver

from remedies.proposals import tries
from wren_sessions import (
    ConfigurationError,
    Encryption,
    FileStore,
    MemoryStore,
    ProtectedStore,
    RedisStore,
    SafeSerializer,
    SessionArchiver,
    Sessions,
    SessionSaver,
    TTLPolicy,
    copy_sessions,
    erase_owner,
    export_session,
    import_checkpoints,
    import_session,
    open_store,
    rekey,
)

URL = "redis://user:sesame@localhost:6379/0"
TAKERS: dict[str, Callable[[Any], object]] = {
    "SessionSaver": SessionSaver,
    "Sessions": Sessions,
    "SessionArchiver": SessionArchiver,
    "ProtectedStore": ProtectedStore,
    "rekey": rekey,
    "copy_sessions": lambda store: copy_sessions(store, MemoryStore()),
    "copy_sessions, target": lambda store: copy_sessions(MemoryStore(), store),
    "export_session": lambda store: list(export_session(store, "s")),
    "import_session": lambda store: import_session(store, []),
}
NO_STORES = {
    "a URL": (URL, r"open_store\(url\)"),
    "a client": (redis.Redis(password="sesame"), r"RedisStore\.from_client"),
    "another saver": (InMemorySaver(), r"saver\.store"),
    "a class": (MemoryStore, r"MemoryStore\(…\)"),
    "a number": (7, "int is not one: it has no"),
    "nothing": (None, "NoneType is not one"),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("given", NO_STORES)
def test_what_is_no_store_is_refused_with_what_to_do(taker: str, given: str) -> None:
    """Whatever takes a store says so before it does anything, and never shows a password."""
    value, says = NO_STORES[given]
    with pytest.raises(ConfigurationError, match=says) as caught:
        TAKERS[taker](value)
    assert taker.partition(",")[0] in str(caught.value)
    assert "sesame" not in str(caught.value)


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "retention": (lambda: SessionSaver(MemoryStore(), retention=1), r"Retention\(keep_last=20\)"),  # type: ignore[arg-type]
    "header": (lambda: SessionSaver(MemoryStore(), header="stage"), r"not one text: \['stage'\]"),
    "header of Sessions": (lambda: Sessions(MemoryStore(), header="stage"), r"\['stage'\]"),
    "names in header": (
        lambda: Sessions(MemoryStore(), header=[1]),  # type: ignore[list-item]
        "must be names, which are text",
    ),
    "cache_bytes": (lambda: SessionSaver(MemoryStore(), cache_bytes=-1), "at least 0, not -1"),
    "cache_bytes as text": (lambda: Sessions(MemoryStore(), cache_bytes="1"), "whole number"),  # type: ignore[arg-type]
    "serde": (lambda: SessionSaver(MemoryStore(), serde="msgpack"), "dumps_typed"),  # type: ignore[arg-type]
    "serde, a class": (lambda: Sessions(MemoryStore(), serde=dict), "the class dict has not"),  # type: ignore[arg-type]
    "expect": (
        lambda: Sessions(MemoryStore()).save("s", {}, expect="1"),  # type: ignore[arg-type]
        "expect must be the Session",
    ),
    "now": (lambda: Sessions(MemoryStore(), now=7), "function that gives the time"),  # type: ignore[arg-type]
    "ttl in memory": (lambda: MemoryStore(ttl="1 hour"), "'1 hour' is not a duration: write '24h'"),
    "ttl in a file": (lambda: FileStore("x.db", ttl=[]), r"\[\] is not a duration"),  # type: ignore[arg-type]
    "ttl on Redis": (lambda: RedisStore.from_url(URL, ttl=True), "True is not a duration"),
    "ttl of a URL": (lambda: open_store("file:x.db", ttl="soon"), "'soon' is not a duration"),
    "busy_timeout": (
        lambda: FileStore("x.db", busy_timeout="soon"),
        "busy_timeout='soon' is not a duration",
    ),
    "no busy_timeout": (lambda: FileStore("x.db", busy_timeout=0), "busy_timeout=0 must be"),
    "ttl, by its name": (lambda: MemoryStore(ttl=0), r"ttl=0 .*TTLPolicy\(idle=None\)"),
    "max_age": (lambda: TTLPolicy(max_age="x"), "max_age='x' is not a duration"),
    "idle": (lambda: Sessions(MemoryStore()).set_ttl("s", "x"), "idle='x' is not a duration"),
    "wait": (
        lambda: Sessions(MemoryStore()).turn("s", wait=[]),  # type: ignore[arg-type]
        r"wait=\[\] is not a duration",
    ),
    "wait of an update": (
        lambda: Sessions(MemoryStore()).update("s", dict.clear, wait="x"),
        "wait='x' is not a duration",
    ),
    "ttl of a turn": (lambda: Sessions(MemoryStore()).turn("s", ttl=0), "ttl=0 must be"),
    "settle": (lambda: erase_owner(MemoryStore(), "ann", settle="x"), "settle='x' is not a"),
    "prefix of a file": (lambda: FileStore("x.db", prefix=5), "prefix 5 cannot be used"),  # type: ignore[arg-type]
    "prefix": (lambda: open_store("memory://", prefix=5), "prefix must be a str, not 5"),  # type: ignore[arg-type]
    "path": (lambda: FileStore(5), "needs the path of a file, not 5"),  # type: ignore[arg-type]
    "dotenv": (lambda: open_store("memory://", dotenv=5), "dotenv must be True, False or"),  # type: ignore[arg-type]
    "migrations": (
        lambda: SessionSaver(MemoryStore(), migrations={}),  # type: ignore[arg-type]
        "migrations must be a Migrations, not a dict",
    ),
    "concurrency": (
        lambda: SessionSaver(MemoryStore(), concurrency=[]),  # type: ignore[arg-type]
        r"concurrency must be 'last', 'reject' or 'wait', not \[\]",
    ),
    "missing": (lambda: SafeSerializer(missing=[]), "missing= must be"),  # type: ignore[arg-type]
    "order": (lambda: Sessions(MemoryStore()).list(order=[]), "order must be"),  # type: ignore[arg-type]
    "keys": (lambda: Encryption(5), "encryption keys must be several"),  # type: ignore[arg-type]
    "a key": (lambda: Encryption([("k",)]), "must be 'id:base64' or"),  # type: ignore[list-item]
    "owner_secret": (
        lambda: Encryption(Encryption.generate_key("k"), owner_secret="sesame" * 9),  # type: ignore[arg-type]
        "owner_secret must have at least",
    ),
    "archives": (
        lambda: erase_owner(MemoryStore(), "ann", archives=5),  # type: ignore[arg-type]
        "archives must be a folder, or a SessionArchiver",
    ),
    "url": (lambda: RedisStore.from_url(5), "url must be a str, not 5"),  # type: ignore[arg-type]
    "clock": (lambda: MemoryStore(clock=1), "milliseconds since 1970"),  # type: ignore[arg-type]
    "nothing to connect to": (RedisStore, r"RedisStore\.from_url\(url\)"),
    "a URL as a path": (lambda: FileStore("file:x.db"), r"FileStore\('x.db'\)"),
    "a store for a saver": (
        lambda: import_checkpoints(InMemorySaver(), MemoryStore()),  # type: ignore[arg-type]
        r"target must be .*SessionSaver\(store\)",
    ),
    "a saver's class": (
        lambda: import_checkpoints(InMemorySaver, SessionSaver(MemoryStore())),  # type: ignore[arg-type]
        "the class",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_arguments_of_the_wrong_type_are_refused_when_they_are_given(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the argument and what it should have been; nothing is made."""
    monkeypatch.chdir(tmp_path)
    call, says = WRONG[what]
    with pytest.raises(ConfigurationError, match=says) as caught:
        call()
    assert "sesame" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@tries(
    "not text: open a URL with open_store(url)",
    "not a client: make a store with RedisStore.from_client({})",
    "pass the store that it is on (saver.store)",
    "make one of it, {}(…)",
    "put the store into one, SessionSaver(store)",
    "RedisStore needs a server: make it with RedisStore.from_url(url)",
)
def test_what_the_errors_propose_is_a_store(tmp_path: Path) -> None:
    """What each error proposes is taken where the wrong thing was refused."""
    saver = SessionSaver(MemoryStore())
    opened = [open_store(url) for url in ("memory://", f"file:{tmp_path}/sessions.db")]
    for store in (*opened, saver.store, MemoryStore()):
        assert Sessions(store).get("s") is None
        assert SessionSaver(store).get_tuple({"configurable": {"thread_id": "s"}}) is None
        assert SessionArchiver(store, tmp_path).find("s") is None
        store.close()
    for server in (RedisStore.from_client(redis.Redis()), RedisStore.from_url(URL)):
        assert Sessions(server).store is server  # made without connecting
    assert import_checkpoints(InMemorySaver(), SessionSaver(MemoryStore())).written == 0
