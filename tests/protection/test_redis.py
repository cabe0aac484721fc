"""Encrypted sessions on a real server: what lies there, what it costs, what other processes see."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from backends.trips import counted_trips
from saver import graphs
from wren_sessions import (
    Compression,
    CorruptSessionError,
    DecryptionError,
    Encryption,
    ProtectedStore,
    Sessions,
    SessionSaver,
    open_store,
    rekey,
)

KEY = Encryption.generate_key("k1")
CONFIG: Any = {"configurable": {"thread_id": "t"}}


def opened(url: str, *keys: str) -> Any:
    """The store as a process has it that was just started."""
    return open_store(url, encryption=Encryption(keys or [KEY]), compression=Compression())


def talk(store: ProtectedStore, turns: int) -> Any:
    """Let a graph talk for some turns."""
    graph = graphs.chat().compile(checkpointer=SessionSaver(store))
    for turn in range(turns):
        graph.invoke({"messages": [graphs.said(turn, "human")]}, CONFIG)
    return graph


def everything_in(url: str) -> bytes:
    """All keys, fields and values of a database."""
    with Redis.from_url(url) as client:
        names: Any = list(client.scan_iter())
        hashes: Any = [client.hgetall(name) for name in names]
    pairs = [b"".join(pair) for fields in hashes for pair in fields.items()]
    return b"".join([*names, *pairs])


def test_nothing_can_be_read_on_the_server(redis_url: str) -> None:
    """Of the conversation, the channels and the numbers; another process with the key reads all."""
    with opened(redis_url) as store:
        graph = talk(store, 8)
        expected = graph.get_state(CONFIG).values
    stored = everything_in(redis_url)
    assert "lorem" in str(graphs.said(1, "human").content)
    for text in (b"lorem", b"messages", b"turn_count", b"HumanMessage", b"human says"):
        assert text not in stored
    assert b'"encryption":{"key":"k1","sealed":' in stored
    with opened(redis_url) as again:
        assert talk(again, 0).get_state(CONFIG).values == expected
        assert len(list(SessionSaver(again).list(CONFIG))) > 8
    with open_store(redis_url) as plain, pytest.raises(DecryptionError, match="'t' is encrypted"):
        SessionSaver(plain).get_tuple(CONFIG)


def test_a_call_is_one_round_trip(redis_url: str) -> None:
    """As without encryption; a process that writes to what it has not seen asks first."""
    with opened(redis_url) as store, opened(redis_url) as cold:
        talk(store, 3)
        cold.ping()
        saver = SessionSaver(store)
        found = saver.get_tuple(CONFIG)
        assert found is not None
        with counted_trips() as trips:
            saver.get_tuple(CONFIG)
            assert trips.count == 1
            saver.put_writes(found.config, [("messages", graphs.said(9, "ai"))], "task")
            assert trips.count == 2
            saver.put(found.config, found.checkpoint | {"id": "~1"}, found.metadata, {})
            assert trips.count == 3
            SessionSaver(cold).get_tuple(CONFIG)
            assert trips.count == 4
        at = {"configurable": {**found.config["configurable"], "checkpoint_id": "~1"}}
        with opened(redis_url) as colder:
            colder.ping()
            with counted_trips() as trips:
                SessionSaver(colder).put_writes(at, [("messages", "x")], "other")  # type: ignore[arg-type]
                assert trips.count == 2


def test_forks_and_keys(redis_url: str) -> None:
    """A fork is copied by the server, under its own header; a new key rewrites both."""
    newer = Encryption.generate_key("k2")
    with opened(redis_url) as store:
        talk(store, 4)
        expected = Sessions(store).fork("t", "f").state
        assert expected == Sessions(store).load("t").state
    with opened(redis_url, newer, KEY) as both:
        assert sorted(rekey(both, unused_for=None).rewritten) == ["f", "t"]
    stored = everything_in(redis_url)
    assert b"k2" in stored
    assert b"\x02k1" not in stored
    with opened(redis_url, newer) as store:
        assert Sessions(store).load("f").state == expected


def test_an_older_checkpoint_is_noticed(redis_url: str) -> None:
    """Somebody with the password of the server, and no key, takes the latest turn back."""
    with opened(redis_url) as store, Redis.from_url(redis_url) as client:
        talk(store, 2)
        key = store.keys.session_key("t")
        older: Any = client.hgetall(key)
        talk(store, 1)
        state: Any = client.hget(key, "state")
        client.hset(key, mapping=older)
        client.hset(key, "state", state)
        with pytest.raises(CorruptSessionError, match="put an older one in its place"):
            Sessions(store).load("t")
