"""The listing of an owner on a real server ends with the session that ends last, and no earlier."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Final, cast

import pytest
import pytest_asyncio
import redis

from backends.faces import face_of, opened
from backends.trips import Trips, counted_trips
from wren_sessions import (
    MemoryStore,
    Sessions,
    copy_sessions,
    erase_owner,
    export_sessions,
    import_sessions,
)
from wren_sessions.protocols import AsyncOwnerStore, AsyncSessionStore, AsyncTurnStore
from wren_sessions.records import NOTHING_NOTED, Notes, TurnStep
from wren_sessions.stores.redis import RedisStore
from wren_sessions.stores.redis.owned import USED_LATE_MS
from wren_sessions.testing.build import done, info, prune, put
from wren_sessions.ttl import Refresh, TTLPolicy

LIST: Final = "langgraph:checkpoint::owner:ann"
HOUR_MS: Final = 3_600_000
NO_END: Final = -1
NO_KEY: Final = -2
SLOW_MS: Final = 60_000  # what a busy machine may take from one look to the next


@pytest.fixture
def refresh() -> Refresh:
    """What renews a session."""
    return "write"


@pytest_asyncio.fixture
async def store(redis_url: str, refresh: Refresh) -> AsyncIterator[RedisStore]:
    """A store whose sessions live for an hour."""
    async with opened(redis_url, ttl=TTLPolicy(idle="1h", refresh=refresh)) as store:
        yield store


@pytest.fixture
def there(store: RedisStore, face: str) -> AsyncSessionStore:
    """One face of it."""
    return face_of(store, face)


def left(client: redis.Redis, key: str = LIST) -> int:
    """For how many whole hours a key stays, counted up; below zero where it does not end."""
    ms: Any = client.pttl(key)
    return ms if ms < 0 else -(-ms // HOUR_MS)  # type: ignore[no-any-return] # a number


async def listed(face: AsyncSessionStore, owner: str = "ann") -> list[str]:
    """An owner's sessions."""
    page = await cast("AsyncOwnerStore", face).list_owned(owner)
    return [entry.session for entry in page.sessions]


async def annotate(face: AsyncSessionStore, session: str, notes: Notes, expect: Notes) -> None:
    """Note whose a session is."""
    await cast("AsyncOwnerStore", face).annotate(session, notes, expect)


async def test_a_listing_has_an_end_again_after_a_pin(
    client: redis.Redis, there: AsyncSessionStore
) -> None:
    """It has none while one of its sessions is pinned, and the others' end from then on."""
    for name in ("one", "two"):
        await done(there, put("1", session=name, owner="ann"))
    assert left(client) == 1
    await there.pin("one")
    await done(there, put("2", parent="1", session="two"))
    assert left(client) == NO_END
    await there.pin("one", pinned=False)
    assert left(client) == 1


async def test_a_listing_ends_with_what_ends_last(
    client: redis.Redis, there: AsyncSessionStore
) -> None:
    """A session that lives longer holds it, and holds it no more when it does not."""
    for name in ("one", "two"):
        await done(there, put("1", session=name, owner="ann"))
    await there.set_ttl("one", "9h")
    await done(there, put("2", parent="1", session="two"))
    assert left(client) == 9
    await there.set_ttl("one", "3h")
    assert left(client) == 3
    await there.delete("one")
    assert await listed(there) == ["two"]
    assert left(client) == 1


@pytest.mark.parametrize("how", ["delete", "prune"])
async def test_a_pinned_session_that_goes_lets_its_listing_end(
    client: redis.Redis, there: AsyncSessionStore, how: str
) -> None:
    """At once, though nobody reads the listing; with the last session it is gone."""
    for name in ("two", "one"):
        await done(there, put("1", session=name, owner="ann"))
        await there.pin(name)
    await there.pin("two", pinned=False)
    assert left(client) == NO_END
    for name, ends in (("one", 1), ("two", NO_KEY)):
        await there.pin(name)
        if how == "delete":
            assert await there.delete(name)
            assert not await there.delete(name)
        else:
            life = (await info(there, name)).life
            await there.prune(prune(life, ("", "1"), session=name))
        if ends == NO_KEY:
            break
        assert left(client) == ends
    assert client.keys() == []


async def test_a_pinned_session_that_is_replaced_lets_its_listing_end(
    client: redis.Redis, there: AsyncSessionStore
) -> None:
    """A copy of somebody else's session in its place leaves nothing of it."""
    await done(there, put("1", session="anns", owner="ann"))
    await done(there, put("1", session="bobs", owner="bob"))
    await there.pin("anns")
    await there.copy("bobs", "anns", replace=True)
    assert left(client) == NO_KEY
    assert set(await listed(there, "bob")) == {"anns", "bobs"}


async def test_copies_hold_a_listing_as_their_sessions_do(
    client: redis.Redis, there: AsyncSessionStore
) -> None:
    """The copy of a pinned session is pinned."""
    await done(there, put("1", session="one", owner="ann"))
    await there.pin("one")
    await there.copy("one", "two")
    await there.delete("one")
    assert left(client) == NO_END
    await there.pin("two", pinned=False)
    assert left(client) == 1
    assert await listed(there) == ["two"]


async def test_a_session_that_changes_hands_takes_its_end_along(
    client: redis.Redis, there: AsyncSessionStore
) -> None:
    """The former owner's listing ends with what is left; the new one's has no end."""
    for name in ("one", "two"):
        await done(there, put("1", session=name, owner="ann"))
    await there.pin("one")
    await annotate(there, "one", Notes("bob"), Notes("ann"))
    assert (left(client), left(client, LIST.replace("ann", "bob"))) == (1, NO_END)
    await annotate(there, "one", NOTHING_NOTED, Notes("bob"))
    assert left(client, LIST.replace("ann", "bob")) == NO_KEY
    await annotate(there, "two", Notes("bob"), Notes("ann"))
    assert (left(client), left(client, LIST.replace("ann", "bob"))) == (NO_KEY, 1)
    await there.pin("one", pinned=False)


def test_what_comes_from_another_store_holds_a_listing(
    client: redis.Redis, store: RedisStore
) -> None:
    """Copies and imports of pinned sessions, also over what is there."""
    with MemoryStore(ttl="9h") as other:
        for name in ("one", "two"):
            Sessions(other).create(name, owner="ann")
        other.pin("one")
        copy_sessions(other, store)
        assert left(client) == NO_END
        store.pin("one", pinned=False)
        assert left(client) == 1
        assert len(list(import_sessions(store, export_sessions(other), replace=True))) == 2
        assert left(client) == NO_END
        other.pin("one", pinned=False)
        assert len(list(import_sessions(store, export_sessions(other), replace=True))) == 2
    assert left(client) == 1
    assert {info.session for info in store.list_owned("ann").sessions} == {"one", "two"}


def test_an_erased_owner_has_no_listing(client: redis.Redis, store: RedisStore) -> None:
    """Pinned sessions or not."""
    for name in ("one", "two"):
        store.commit(put("1", session=name, owner="ann"))
    store.pin("one")
    erase_owner(store, "ann")
    assert client.keys() == []


async def test_a_page_corrects_what_was_noted(
    client: redis.Redis, there: AsyncSessionStore
) -> None:
    """What only an operator changed, and what an earlier version left without an end."""
    for name in ("one", "two"):
        await done(there, put("1", session=name, owner="ann"))
    client.persist("langgraph:checkpoint:one:latest")
    assert await listed(there) == ["two", "one"]
    assert left(client) == NO_END
    client.expire("langgraph:checkpoint:one:latest", 7_200)
    assert await listed(there) == ["two", "one"]
    assert left(client) == 2
    client.zrem(LIST, ":one", ":two")
    client.persist(LIST)
    assert await listed(there) == ["two", "one"]
    assert left(client) == 2
    assert (await cast("AsyncOwnerStore", there).list_owned("ann", limit=1)).total == 2


async def test_a_page_of_many_is_corrected_whole(
    client: redis.Redis, there: AsyncSessionStore
) -> None:
    """However long the page is: some servers take no more than 3,900 arguments."""
    names = {f"s{at}": 1 for at in range(5_000)}
    client.zadd(LIST, names)
    await done(there, put("1", session="last", owner="ann"))
    page = await cast("AsyncOwnerStore", there).list_owned("ann", limit=6_000)
    assert [entry.session for entry in page.sessions] == ["last"]
    assert (page.total, client.zcard(LIST)) == (1, 2)


# --- turns ----------------------------------------------------------------------------------------


async def test_a_listing_lives_on_with_a_turn_that_is_kept(
    client: redis.Redis, there: AsyncSessionStore
) -> None:
    """A long step renews its session, and the place of it; one more trip now and then."""
    turns = cast("AsyncTurnStore", there)
    step = TurnStep(session="one", token="mine", what="take", ttl_ms=60_000)
    await done(there, put("1", session="known", owner="bob"))
    await turns.turn(replace(step, session="known"))  # the server knows the scripts
    await done(there, put("1", session="one", owner="ann"))
    client.pexpire("langgraph:checkpoint:one:latest", SLOW_MS)
    client.pexpire(LIST, SLOW_MS)
    with counted_trips() as trips:
        assert await trips.of(lambda: turns.turn(step)) == 2
        for _ in range(5):
            assert await trips.of(lambda: turns.turn(replace(step, what="keep"))) == 1
    check_it_outlives(client)
    await done(there, replace(put("2", parent="1", session="one"), turn="mine"))
    check_it_outlives(client)
    await turns.turn(replace(step, what="leave"))


def check_it_outlives(client: redis.Redis) -> None:
    """The listing ends behind its session, by a minute at the most."""
    session_ms, list_ms = client.pttl("langgraph:checkpoint:one:latest"), client.pttl(LIST)
    assert session_ms > SLOW_MS
    assert session_ms - SLOW_MS < list_ms <= session_ms + USED_LATE_MS + SLOW_MS


# --- where reading renews -------------------------------------------------------------------------


@pytest.mark.parametrize("refresh", ["read"])
async def test_a_listing_lives_on_with_what_is_read(
    client: redis.Redis, store: RedisStore, there: AsyncSessionStore, redis_url: str
) -> None:
    """Reading makes a session and its place live longer, also by a process that never wrote it."""
    await done(there, put("1", session="one", owner="ann"))
    assert left(client) == 1
    client.pexpire("langgraph:checkpoint:one:latest", SLOW_MS)
    client.pexpire(LIST, SLOW_MS)
    async with opened(redis_url, ttl=store.ttl) as other:
        await other.aio.load("one")
    check_it_outlives(client)


@pytest.mark.parametrize("refresh", ["read"])
async def test_what_is_read_and_pinned_has_an_end_again(
    client: redis.Redis, there: AsyncSessionStore
) -> None:
    """As where reading renews nothing."""
    await done(there, put("1", session="one", owner="ann"))
    await there.pin("one")
    await there.load("one")
    await done(there, put("2", parent="1", session="one"))
    assert left(client) == NO_END
    await there.pin("one", pinned=False)
    assert left(client) in {1, 2}  # a minute later than the session
    await there.load("one")
    await done(there, put("3", parent="2", session="one"))
    assert left(client) in {1, 2}
    await there.pin("one")
    await there.delete("one")
    assert client.keys() == []


@pytest.mark.parametrize("refresh", ["read"])
async def test_reading_tells_a_listing_now_and_then(there: AsyncSessionStore) -> None:
    """One more trip where the listing would end too early; none for what has no owner."""
    await done(there, put("1", session="nobodys"))
    first = await done(there, put("1", session="one", owner="ann"))
    assert first.life is not None
    with counted_trips() as trips:
        assert await of_load(trips, there, "one") == 2
        for _ in range(5):
            assert await of_load(trips, there, "one") == 1
            assert await of_load(trips, there, "nobodys") == 1
        await done(
            there, replace(put("2", parent="1", session="one"), incarnation=first.life.incarnation)
        )
        assert await of_load(trips, there, "one") == 1


@pytest.mark.parametrize("refresh", ["read"])
@pytest.mark.parametrize("call", ["load", "turn"])
async def test_a_listing_that_cannot_be_told_fails_no_call(
    client: redis.Redis, store: RedisStore, redis_url: str, face: str, call: str
) -> None:
    """The session is read, or its turn taken; the listing is told with the next use."""
    await done(store.aio, put("1", session="one", owner="ann"))
    client.pexpire(LIST, SLOW_MS)
    session_key = "langgraph:checkpoint:one:latest"
    client.execute_command("ACL", "SETUSER", "few", "on", ">few", "+@all", f"~{session_key}")
    step = TurnStep(session="one", token="mine", what="take", ttl_ms=60_000)
    try:
        async with opened(redis_url.replace("//", "//few:few@"), ttl=store.ttl) as limited:
            there = face_of(limited, face)
            if call == "load":
                assert await there.load("one") is not None
            else:
                assert (await cast("AsyncTurnStore", there).turn(step)).mine
    finally:
        client.execute_command("ACL", "DELUSER", "few")
    assert client.pttl(LIST) <= SLOW_MS
    await face_of(store, face).load("one")
    check_it_outlives(client)


async def of_load(trips: Trips, face: AsyncSessionStore, session: str) -> int:
    """How many trips a load makes."""
    return await trips.of(lambda: face.load(session))
