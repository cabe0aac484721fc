"""Sessions in memory as bytes: they come back as they were, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final
from zlib import crc32

import msgpack
import pytest

from wren_sessions.errors import (
    CorruptSessionError,
    FormatVersionError,
    InvalidSessionIdError,
    StoreUnavailableError,
)
from wren_sessions.records import Span, Start
from wren_sessions.stores.memory import MemoryStore
from wren_sessions.testing import FakeClock
from wren_sessions.testing.build import SESSION, add, commit, prune, put, write
from wren_sessions.ttl import TTLPolicy

EVERYTHING = (Start(""), Start("child"))


@pytest.fixture
def clock() -> FakeClock:
    """A clock moved by hand."""
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    """A store with a session that has a little of everything, and was pruned."""
    store = MemoryStore(clock=clock)
    store.commit(put("1", append=b"one" * 100, state=b"{}", created_ms=clock() - 1_000))
    store.commit(put("5", append=b"five", spans=(Span(0, 3),)))
    store.commit(put("3", parent="5", body=b"", append=b"three"))
    store.commit(put("2", ns="child", append=b"child"))
    store.commit(add("3", write("task", 0, b"a"), write("task", -1, b"b", replaces=True)))
    store.commit(add("9", write("task", 0, b"early"), spans=(Span(300, 4),)))
    store.set_ttl(SESSION, "2h")
    life = store.touch(SESSION)
    store.prune(prune(life, ("", "1"), keep=(Span(0, 3), Span(300, 20))))
    return store


def dumped(store: MemoryStore, session: str = SESSION) -> bytes:
    """The dump of a session that is there."""
    data = store.dump(session)
    assert data is not None
    return data


def restored(data: bytes, clock: FakeClock, session: str = SESSION) -> MemoryStore:
    """A store with nothing but what was dumped."""
    store = MemoryStore(clock=clock)
    store.restore(session, data)
    return store


def signed(packed: bytes) -> bytes:
    """What a dump looks like."""
    return crc32(packed).to_bytes(4) + packed


def test_a_session_comes_back_as_it_was(store: MemoryStore, clock: FakeClock) -> None:
    """Life, settings, heads, records, writes, arena, header and size are those of the original."""
    other = restored(dumped(store), clock)
    assert other.info(SESSION) == store.info(SESSION)
    assert other.heads(SESSION) == store.heads(SESSION) == (("", "3"), ("child", "2"))
    assert other.scan(SESSION, EVERYTHING, 10) == store.scan(SESSION, EVERYTHING, 10)
    assert other.load(SESSION, "", "5") is not None
    clock.advance("90m")  # its own idle time is two hours
    again = put("9", append=b"nine")
    assert other.commit(again) == store.commit(again)
    assert other.info(SESSION) == store.info(SESSION)
    parts = other.read(SESSION, [Span(0, 3), Span(300, 14)])
    assert parts is not None
    assert (parts.get(Span(0, 3)), parts.get(Span(304, 5))) == (b"one", b"three")
    assert other._index.size_bytes == store._index.size_bytes


def test_the_same_session_gives_the_same_bytes(store: MemoryStore, clock: FakeClock) -> None:
    """Restoring changes nothing, nor does looking; a change does."""
    data = dumped(store)
    other = restored(data, clock)
    other.load(SESSION)
    other.info(SESSION)
    assert dumped(other) == data
    other.touch(SESSION)
    assert dumped(other) == data  # the clock stood still
    clock.advance("1m")
    other.touch(SESSION)
    assert dumped(other) != data


def test_a_restored_session_knows_its_commits(store: MemoryStore, clock: FakeClock) -> None:
    """A commit that was applied before the dump is not applied again after it."""
    again = put("7", append=b"seven"), commit(state=b'{"n": 7}')
    first = [store.commit(each) for each in again]
    other = restored(dumped(store), clock)
    assert [other.commit(each).base for each in again] == [each.base for each in first]
    assert other.info(SESSION) == store.info(SESSION)


def test_a_session_may_be_restored_under_another_id(store: MemoryStore, clock: FakeClock) -> None:
    """The bytes do not hold the id; a session that has it is replaced."""
    data = dumped(store)
    for session in ("other", SESSION):
        store.commit(put("8", session=session, ns="old"))
        store.restore(session, data)
        assert store.heads(session) == (("", "3"), ("child", "2"))
        assert dumped(store, session) == data
    assert store._index.size_bytes == sum(
        session.size_bytes for session in store._index._sessions.values()
    )


def test_what_is_not_there_has_no_dump(store: MemoryStore, clock: FakeClock) -> None:
    """A session that never was, or has expired, is a miss; its deadline is in the dump."""
    data = dumped(store)
    assert store.dump("other") is None
    clock.advance("2h")
    assert store.dump(SESSION) is None
    assert restored(data, clock).info(SESSION) is None
    for call in (store.dump, lambda session: store.restore(session, data)):
        with pytest.raises(InvalidSessionIdError):
            call("")


def test_damaged_bytes_are_refused(store: MemoryStore, clock: FakeClock) -> None:
    """Any bit that is wrong, any byte that is missing: an error, and the store stays as it is."""
    data = dumped(store)
    wrong = [data[:cut] for cut in range(0, len(data), 7)]
    wrong += [data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :] for at in range(len(data))]
    for bad in (*wrong, data + b"\0", b"{}", signed(b"")):
        with pytest.raises(CorruptSessionError) as caught:
            store.restore(SESSION, bad)
        assert caught.value.session == SESSION
    assert dumped(store) == data


def test_newer_dumps_are_refused(store: MemoryStore) -> None:
    """A version that this package does not know is named."""
    with pytest.raises(FormatVersionError) as caught:
        store.restore(SESSION, signed(msgpack.packb([2, "whatever it holds"])))
    assert (caught.value.found, caught.value.supported) == (2, 1)


def test_restoring_keeps_to_the_bounds(store: MemoryStore, clock: FakeClock) -> None:
    """Others are evicted for it, but never a pinned one."""
    data = dumped(store)
    small = MemoryStore(clock=clock, max_sessions=1, ttl=TTLPolicy())
    small.commit(put("1", session="old"))
    small.restore(SESSION, data)
    assert [info.session for info in small.list_sessions().sessions] == [SESSION]
    small.pin(SESSION)
    with pytest.raises(StoreUnavailableError):
        small.restore("another", data)
    assert [info.session for info in small.list_sessions().sessions] == [SESSION]


HOSTILE: Final[tuple[object, ...]] = (
    "text",
    b"bytes",
    None,
    True,
    -1,
    10**15 + 1,
    2**63,
    1.5,
    float("nan"),
    (),
    ((),),
    {},
)


def places(value: object, path: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Where every part of nested tuples is."""
    yield path
    if isinstance(value, tuple):
        for at, part in enumerate(value):
            yield from places(part, (*path, at))


def planted(value: Any, path: tuple[int, ...], other: object) -> Any:
    """Nested tuples with something else in one place."""
    if not path:
        return other
    at, *rest = path
    return (*value[:at], planted(value[at], tuple(rest), other), *value[at + 1 :])


def test_a_dump_that_somebody_made_is_checked(store: MemoryStore, clock: FakeClock) -> None:
    """Whatever stands anywhere: an error that names the session, or a session to use."""
    whole = msgpack.unpackb(dumped(store)[4:], use_list=False)
    refused = 0
    for path in places(whole):
        for other in HOSTILE:
            data = signed(msgpack.packb(planted(whole, path, other)))
            target = MemoryStore(clock=clock)
            try:
                target.restore(SESSION, data)
            except (CorruptSessionError, FormatVersionError) as error:
                named = error.session
                refused += 1
                assert (named, len(target._index)) == (SESSION, 0)
                continue
            use(target)
    assert refused > 500


def use(store: MemoryStore) -> None:
    """Make every call on what was restored; what its numbers say may still end it."""
    store.info(SESSION)
    store.list_sessions()
    for namespace, _ in store.heads(SESSION):
        with suppress(CorruptSessionError):
            store.load(SESSION, namespace)
    scanned = store.scan(SESSION, EVERYTHING, 10)
    for stored in scanned.records:
        store.read(SESSION, stored.spans)
    store.commit(put("7", append=b"seven"))
    store.touch(SESSION)
    store.dump(SESSION)
    if scanned.life is not None:
        store.prune(prune(store.touch(SESSION), ("", "7")))
