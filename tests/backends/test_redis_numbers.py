"""Numbers that somebody changed in a session's hash: no script runs for as long as they say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
import redis

from servers import start_server
from wren_sessions.errors import CorruptSessionError, FormatVersionError
from wren_sessions.records import Committed, Span, Start
from wren_sessions.stores.redis import RedisStore
from wren_sessions.testing.build import add, commit, prune, put, write

SESSION: Final = "numbers"
KEY: Final = f"langgraph:checkpoint:{SESSION}:latest"
WITHIN_S: Final = 2.0

NUMBERS: Final = (
    b"-1",
    b"65",
    b"999999999999999",
    b"1000000000000000",
    b"9007199254740993",
    b"9" * 400,
    b"1e308",
    b"inf",
    b"nan",
    b"0x7fffffff",
    b"1.5",
    b"1_0",
    b"-",
)
"""Among them, what Lua's `tonumber` and Python's `int` each take for a number."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server of its own: it may come to a stop."""
    with start_server() as server:
        yield server.url


@pytest.fixture
def server(url: str) -> Iterator[redis.Redis]:
    """A client with which to do damage, and to see whether the server answers."""
    with redis.Redis.from_url(url, socket_timeout=WITHIN_S) as client:
        client.flushdb()
        yield client


@pytest.fixture
def store(url: str) -> Iterator[RedisStore]:
    """A store that does not wait for long."""
    with RedisStore.from_url(url, socket_timeout=WITHIN_S) as opened:
        yield opened


def written(store: RedisStore) -> Committed:
    """A session with two namespaces, an arena of several segments, and logs of both kinds."""
    for number in range(2, 9, 2):
        spans = (Span(0, 40),) if number > 2 else ()
        store.commit(put(str(number), session=SESSION, append=b"x" * 3_000, spans=spans))
    store.commit(put("1", ns="child", session=SESSION, append=b"child"))
    store.commit(add("4", write("one", 0, b"body"), session=SESSION, spans=(Span(9, 9),)))
    for number in range(40):
        entries = (
            write(f"task {number}", 0, b"y" * 300),
            write(f"task {number}", -3, b"asks", replaces=True),
        )
        spans = (Span(50 * number, 40),)
        store.commit(add("8", *entries, session=SESSION, spans=spans))
    last = store.commit(commit(SESSION, state=b"{}"))
    assert last.life is not None
    return last


def calls(store: RedisStore, last: Committed) -> dict[str, Callable[[], Any]]:
    """Every call that runs a script."""
    return {
        "load": lambda: store.load(SESSION),
        "load one": lambda: store.load(SESSION, "", "4"),
        "scan": lambda: store.scan(SESSION, [Start(""), Start("child")], 100),
        "scan from the middle": lambda: store.scan(SESSION, [Start("", "5")], 100),
        "read all": lambda: read_all(store),
        "heads": lambda: store.heads(SESSION),
        "info": lambda: store.info(SESSION),
        "list": store.list_sessions,
        "touch": lambda: store.touch(SESSION),
        "set_ttl": lambda: store.set_ttl(SESSION, "1h"),
        "pin": lambda: store.pin(SESSION),
        "copy": lambda: store.copy(SESSION, "copy", replace=True),
        "put": lambda: store.commit(put("9", session=SESSION, append=b"more")),
        "put in between": lambda: store.commit(put("3", session=SESSION, append=b"more")),
        "write": lambda: store.commit(
            add("8", write("t", 0, b"v"), write("t", -3, b"v", replaces=True), session=SESSION)
        ),
        "first write": lambda: store.commit(add("4", write("t", 0, b"v"), session=SESSION)),
        "header": lambda: store.commit(commit(SESSION, state=b"{}")),
        "prune": lambda: store.prune(
            prune(last.life, ("", "8"), ("", "4"), session=SESSION, free=(Span(0, 4_000),))
        ),
    }


def read_all(store: RedisStore) -> None:
    """Read what every record says it refers to."""
    for stored in store.scan(SESSION, [Start("")], 100).records:
        store.read(SESSION, stored.spans)


def places(fields: dict[bytes, bytes]) -> Iterator[tuple[bytes, re.Match[bytes]]]:
    """Every number in the lines that scripts read, with the field it stands in."""
    for field in (b":meta", b"8", b"4", b":w//8", b":w//4"):
        line = fields[field].split(b"\n", 1)[0]
        for found in re.finditer(rb"(?<![^ ,+])(?:\d+|-)(?![^ ,+])", line):
            yield field, found


def test_a_planted_number_is_an_answer_or_damage(server: redis.Redis, store: RedisStore) -> None:
    """Whatever number stands anywhere, each call ends in an answer or an error that names it."""
    last = written(store)
    before: Any = server.dump(KEY)
    fields: Any = server.hgetall(KEY)
    told = 0
    for field, found in places(fields):
        value = fields[field]
        for number in NUMBERS:
            changed = value[: found.start()] + number + value[found.end() :]
            for name, call in calls(store, last).items():
                server.restore(KEY, 0, before, replace=True)
                server.hset(KEY, field, changed)
                told += damage_told(name, call)
    assert server.ping()
    assert told > 1_000


def damage_told(name: str, call: Callable[[], Any]) -> bool:
    """Whether a call is refused because of damage; nothing else than that may be wrong with it."""
    try:
        call()
    except (CorruptSessionError, FormatVersionError) as error:
        told = error.session
    else:
        return False
    assert told == SESSION, name
    return True


@pytest.mark.parametrize(
    "planted",
    [
        {b":w//8": b"999999999999999 - - 0\n"},
        {b":w//8": b"999999999999999 - - 5 0 0 0\n"},
        {b":w//8": b"0 - - 5 1 999999999999999 0\n"},
        {b":w//8": b"- - - 0 0 0 999999999999999\n"},
        {b":w//8": b"- - - 0 999999999999999 0 0\n"},
        {b":meta": b"1 i 1 1 - 3 999999999999999 0 /", b"8": b"t 0 999999999999999 : -\nbody"},
        {b":meta": b"1 i 1 1 - 3 999999999999999 0 /", b"8": b"t 0 0 : 0+999999999999999\nbody"},
        {b":meta": b"1 i 1 1 - 3 999999999999999 0 /", b":w//8": b"- - 0+999999999999 0 0 0 0\n"},
        {b":meta": b"1 i 1 1 - 3 " + b"9" * 400 + b" 0 /", b"8": b"t " + b"9" * 400 + b" 1 : -\n"},
    ],
)
def test_numbers_that_agree_with_each_other(
    server: redis.Redis, store: RedisStore, planted: dict[bytes, bytes]
) -> None:
    """A loop is bounded by the fields that are there, also where two numbers agree."""
    written(store)
    server.hset(KEY, mapping=planted)  # type: ignore[arg-type]
    for call in (
        lambda: store.load(SESSION, "", "8"),
        lambda: store.scan(SESSION, [Start("")], 100),
        lambda: read_all(store),
    ):
        with pytest.raises(CorruptSessionError) as caught:
            call()
        assert caught.value.session == SESSION
        assert server.ping()


def test_spans_that_overlap_are_gone_through_once(server: redis.Redis, store: RedisStore) -> None:
    """Many spans of the same bytes, in any order, cost no more than they are long."""
    store.commit(put("8", session=SESSION, append=b"x" * 900_000))
    spans = ",".join(f"{start}+{900_000 - start}" for start in range(20_000, 0, -1))
    server.hset(KEY, "8", f"t 0 0 : {spans}\nbody")
    found = store.load(SESSION, "", "8")
    assert found is not None
    assert found.stored.spans == (Span(1, 899_999),)


def test_spans_that_take_long_to_sort_are_damage(server: redis.Redis, store: RedisStore) -> None:
    """An order that makes Lua's sort quadratic is refused; nothing of ours writes such a one."""
    store.commit(put("8", session=SESSION, append=b"x" * 900_000))
    spans = ",".join(f"{start}+1" for start in worst_for_sorting(20_000))
    server.hset(KEY, "8", f"t 0 0 : {spans}\nbody")
    with pytest.raises(CorruptSessionError):
        store.load(SESSION, "", "8")
    assert server.ping()


def worst_for_sorting(count: int) -> list[int]:
    """Numbers that make a quicksort by the median of first, middle and last quadratic."""
    places = list(range(count))
    for low in range(0, count - 2, 2):
        middle = (low + count - 1) // 2
        places[low + 1], places[middle] = places[middle], places[low + 1]
    found = [0] * count
    for rank, place in enumerate(places):
        found[place] = rank
    return found
