"""An owner's list on a real server that cannot be told of a session: then, and afterwards.

The session's own key is the truth, and the list is an index. It may hold what is not there, which a
page finds out. It may not lack what is there.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import pytest
import pytest_asyncio
import redis
from redis.crc import key_slot

from backends.faces import face_of, opened
from backends.test_redis_owners import LIST, NO_END, NO_KEY, annotate, left, listed
from backends.trips import counted_trips
from remedies.proposals import tries
from servers import ClusterServers
from wren_sessions import aerase_owner, erase_owner
from wren_sessions.errors import ConflictError, CorruptSessionError, StoreUnavailableError
from wren_sessions.keys import KeySpace
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import NOTHING_NOTED, Notes
from wren_sessions.stores.redis import RedisStore
from wren_sessions.stores.redis.owned import AGAIN_MS, OUTAGE_MS
from wren_sessions.stores.redis.sequences import Sequences
from wren_sessions.testing.build import done, info, prune, put

USER: Final = "few"
SESSIONS: Final = "~langgraph:checkpoint:*:latest"

DAY_MS: Final = 86_400_000

Cut: TypeAlias = Callable[[bool], None]
"""Has a user reach sessions alone, and everything again."""


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as a warning."""
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


# --- one server -----------------------------------------------------------------------------------


@pytest.fixture
def cut(client: redis.Redis) -> Iterator[Cut]:
    """Keeps a user from lists, or not."""

    def cut(off: bool) -> None:  # noqa: FBT001 -- it is all it says
        keys = ("resetkeys", SESSIONS if off else "~*")
        client.execute_command("ACL", "SETUSER", USER, "on", f">{USER}", "+@all", *keys)

    cut(False)
    yield cut
    client.execute_command("ACL", "DELUSER", USER)


@pytest_asyncio.fixture
async def limited(redis_url: str, cut: Cut) -> AsyncIterator[RedisStore]:
    """A store of that user."""
    async with opened(redis_url.replace("//", f"//{USER}:{USER}@"), ttl="1h") as store:
        yield store


@pytest.fixture
def there(limited: RedisStore, face: str) -> AsyncSessionStore:
    """One face of it."""
    return face_of(limited, face)


@pytest.mark.parametrize("how", ["delete", "prune", "annotate", "copy"])
async def test_a_session_that_goes_is_gone_whatever_its_list_says(
    client: redis.Redis,
    there: AsyncSessionStore,
    cut: Cut,
    how: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The call is done, and a warning names the list and the session. A page corrects the list."""
    for name in ("stays", "goes"):
        await done(there, put("1", session=name, owner="ann"))
    await done(there, put("1", session="nobodys"))
    life = await there.pin("goes")
    cut(True)
    if how == "delete":
        assert await there.delete("goes")
    elif how == "prune":
        await there.prune(prune(life, ("", "1"), session="goes"))
        assert await there.info("goes") is None
    elif how == "copy":
        assert await there.copy("nobodys", "goes", replace=True) is not None
    else:
        await annotate(there, "goes", NOTHING_NOTED, Notes("ann"))
    (said,) = warnings_of(caplog)
    assert LIST in said
    assert "'goes'" in said
    cut(False)
    assert left(client) == NO_END
    assert await listed(there) == ["stays"]
    assert left(client) == 1


async def test_a_list_that_cannot_be_told_is_left_alone_for_a_minute(
    there: AsyncSessionStore, cut: Cut, caplog: pytest.LogCaptureFixture
) -> None:
    """It is warned of once, and the calls until then need not wait for it."""
    for name in ("one", "two", "three"):
        await done(there, put("1", session=name, owner="ann"))
        await there.pin(name)
    cut(True)
    with counted_trips() as trips:
        counts = [await trips.of(lambda: there.delete(name)) for name in ("one", "two")]  # noqa: B023
    assert counts == [2, 1]
    assert len(warnings_of(caplog)) == 1
    cut(False)
    assert await listed(there) == ["three"]
    with counted_trips() as trips:
        assert await trips.of(lambda: there.delete("three")) == 2
    assert AGAIN_MS == 60_000


async def test_a_session_is_not_given_to_somebody_whose_list_cannot_be_told(
    client: redis.Redis, there: AsyncSessionStore, cut: Cut
) -> None:
    """Nothing is noted: the list would lack the session. The same call works later."""
    await done(there, put("1", session="one", owner="ann"))
    cut(True)
    with pytest.raises(StoreUnavailableError):
        await annotate(there, "one", Notes("bob"), Notes("ann"))
    assert (await info(there, "one")).owner == "ann"
    cut(False)
    await annotate(there, "one", Notes("bob"), Notes("ann"))
    assert (await listed(there), await listed(there, "bob")) == ([], ["one"])
    assert left(client) == NO_KEY


async def test_nothing_is_copied_for_somebody_whose_list_cannot_be_told(
    there: AsyncSessionStore, cut: Cut
) -> None:
    """The list would lack the copy. The same call works later."""
    await done(there, put("1", session="one", owner="ann"))
    cut(True)
    with pytest.raises(StoreUnavailableError):
        await there.copy("one", "two")
    assert await there.info("two") is None
    cut(False)
    assert await there.copy("one", "two") is not None
    assert set(await listed(there)) == {"one", "two"}


@pytest.mark.parametrize("pinned", [False, True])
async def test_a_list_knows_a_copy_though_its_maker_died(
    client: redis.Redis, limited: RedisStore, face: str, *, pinned: bool
) -> None:
    """It was told before, and holds for as long as the copy."""
    there = face_of(limited, face)
    await done(there, put("1", session="one", owner="ann"))
    await there.pin("one", pinned=pinned)
    with dying_before_a_list_is_told_again(), pytest.raises(KeyboardInterrupt):
        await there.copy("one", "two")
    await there.delete("one")
    assert await listed(there) == ["two"]
    assert left(client) == (NO_END if pinned else 1)
    await there.pin("two", pinned=False)


@contextmanager
def dying_before_a_list_is_told_again() -> Iterator[None]:
    """As if the process ended once the copy was made."""

    async def die(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sequences, "listed", die)
        yield


async def test_a_list_that_is_none_keeps_nobody_from_deleting(
    client: redis.Redis, there: AsyncSessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Something else stands at its key: the session is deleted, and the warning says so."""
    await done(there, put("1", session="one", owner="ann"))
    await there.pin("one")
    client.set(LIST, "no list")
    assert await there.delete("one")
    assert LIST in warnings_of(caplog)[0]
    client.delete(LIST)


NO_LISTS: Final[dict[str, Callable[[redis.Redis], object]]] = {
    "text": lambda client: client.set(LIST, "no list"),
    "a list": lambda client: client.rpush(LIST, "one"),
    "a name that is none": lambda client: client.zadd(LIST, {b"\xff": 1}),
    "no name": lambda client: client.zadd(LIST, {b"": 1}),
    "a time that is none": lambda client: client.zadd(LIST, {b"one": "inf"}),
}


@tries("touch or write the owner's sessions, which puts each of them into the list again")
@pytest.mark.parametrize("what", NO_LISTS)
async def test_what_should_be_a_list_is_named(
    client: redis.Redis, there: AsyncSessionStore, what: str
) -> None:
    """The error names the key, nothing is half written, and what it says brings the list back."""
    await done(there, put("1", session="one", owner="ann"))
    await done(there, put("1", session="nobodys"))
    client.delete(LIST)
    NO_LISTS[what](client)
    calls: list[Callable[[], Awaitable[object]]] = [lambda: listed(there)]
    if client.type(LIST) != b"zset":
        calls += [
            lambda: done(there, put("1", session="new", owner="ann")),
            lambda: done(there, put("2", session="one", owner="ann")),
            lambda: annotate(there, "nobodys", Notes("ann"), NOTHING_NOTED),
            lambda: there.copy("one", "copy"),
            lambda: there.touch("one"),
        ]
    before = client.hgetall("langgraph:checkpoint:one:latest")
    for call in calls:
        with pytest.raises(CorruptSessionError, match=f"the key '{LIST}' should hold the list"):
            await call()
    assert client.hgetall("langgraph:checkpoint:one:latest") == before
    assert client.exists(*(f"langgraph:checkpoint:{name}:latest" for name in ("new", "copy"))) == 0
    assert (await info(there, "nobodys")).owner is None
    client.delete(LIST)
    await there.touch("one")
    assert await listed(there) == ["one"]


async def test_a_title_needs_no_list(there: AsyncSessionStore, cut: Cut) -> None:
    """What is noted without another owner is one trip, which no list has a part in."""
    await done(there, put("1", session="one", owner="ann"))
    titled = Notes("ann", b'{"title":"mine"}')
    cut(True)
    with counted_trips() as trips:
        assert await trips.of(lambda: annotate(there, "one", titled, Notes("ann"))) == 1
    assert (await info(there, "one")).notes == titled
    cut(False)
    assert await listed(there) == ["one"]


async def test_what_is_not_given_is_in_no_list(
    client: redis.Redis, there: AsyncSessionStore
) -> None:
    """A session that is not there, or that others noted about, makes no list."""
    await annotate(there, "nothing", Notes("ann"), NOTHING_NOTED)
    await done(there, put("1", session="one"))
    with pytest.raises(ConflictError):
        await annotate(there, "one", Notes("ann"), Notes(None, b'{"title":"mine"}'))
    assert left(client) == NO_KEY


# --- a cluster, a node of which does not answer ---------------------------------------------------


@pytest_asyncio.fixture
async def spread(cluster_url: str) -> AsyncIterator[RedisStore]:
    """A store on the cluster that waits a second for an answer."""
    async with opened(cluster_url, ttl="24h", socket_timeout=1) as store:
        yield store


@contextmanager
def stopped(cluster: ClusterServers) -> Iterator[None]:
    """The node that has the list answers nothing that may write."""
    node = cluster.owner(key_slot(LIST.encode()))
    cluster.ask(node, "CLIENT", "PAUSE", 600_000, "WRITE")
    try:
        yield
    finally:
        cluster.ask(node, "CLIENT", "UNPAUSE")


@pytest.fixture
def far(redis_cluster: ClusterServers) -> list[str]:
    """Names of sessions that are not on that node."""
    node, keys = redis_cluster.owner(key_slot(LIST.encode())), KeySpace()
    names = [f"s{number}" for number in range(40)]
    slots = {name: key_slot(keys.session_key(name).encode()) for name in names}
    return [name for name in names if redis_cluster.owner(slots[name]) is not node][:3]


def forget_when(store: RedisStore) -> None:
    """As if the lists had been told long ago: the next write tells them again."""
    known = store.sequences._commands.owners  # time does not pass by hand there
    known.update({life: one._replace(listed_ms=0) for life, one in known.items()})


async def test_a_session_goes_on_while_its_list_cannot_be_told(
    spread: RedisStore,
    face: str,
    redis_cluster: ClusterServers,
    far: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One write waits for the node, and a warning says so. Later the list lacks nothing."""
    there, (one, two, _) = face_of(spread, face), far
    await done(there, put("1", session=two, owner="ann"))
    await there.touch(two)  # its node knows the script
    life = (await done(there, put("1", session=one, owner="ann"))).life
    assert life is not None
    late: dict[str, Any] = {"session": one, "owner": "ann", "incarnation": life.incarnation}
    forget_when(spread)
    with stopped(redis_cluster):
        await done(there, put("2", parent="1", **late))
        await there.info(one)  # asks who has which slots, after the error
        with counted_trips() as trips:
            assert await trips.of(lambda: done(there, put("3", parent="2", **late))) == 1
            assert await trips.of(lambda: there.touch(two)) == 1
        (said,) = warnings_of(caplog)
        assert LIST in said
        assert repr(one) in said
    assert set(await listed(there)) == {one, two}
    await done(there, put("4", parent="3", **late))
    assert await listed(there) == [one, two]


async def test_a_list_that_may_wait_is_not_waited_for(
    cluster_url: str,
    face: str,
    redis_cluster: ClusterServers,
    far: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No node has its slot: a call that is done does not wait an hour for one that has."""
    slot = key_slot(LIST.encode())
    node = redis_cluster.owner(slot)
    async with opened(cluster_url, ttl="24h", failover_timeout=3_600) as store:
        there = face_of(store, face)
        life = (await done(there, put("1", session=far[0], owner="ann"))).life
        assert life is not None
        forget_when(store)
        redis_cluster.ask(node, "CLUSTER", "DELSLOTS", slot)
        try:
            late = put("2", parent="1", session=far[0], owner="ann", incarnation=life.incarnation)
            await done(there, late)
        finally:
            redis_cluster.ask(node, "CLUSTER", "ADDSLOTS", slot)
            redis_cluster.wait_until_whole()
        assert LIST in warnings_of(caplog)[0]
        assert await listed(there) == [far[0]]


async def test_what_a_list_would_lack_is_an_error(
    spread: RedisStore, face: str, redis_cluster: ClusterServers, far: list[str]
) -> None:
    """A new session is not written. One that would outlive its list says so: call again."""
    there, (one, new, _) = face_of(spread, face), far
    await done(there, put("1", session=one, owner="ann"))
    with stopped(redis_cluster):
        with pytest.raises(StoreUnavailableError):
            await there.commit(put("1", session=new, owner="ann"))
        assert await there.info(new) is None
        with pytest.raises(StoreUnavailableError):
            await there.set_ttl(one, "90h")
    await there.set_ttl(one, "90h")
    await done(there, put("1", session=new, owner="ann"))
    assert set(await listed(there)) == {one, new}


async def test_a_list_knows_a_copy_on_another_node_though_its_maker_died(
    spread: RedisStore, face: str, far: list[str]
) -> None:
    """It was told before, as on a single server."""
    there, (one, new, _) = face_of(spread, face), far
    await done(there, put("1", session=one, owner="ann"))
    with dying_before_a_list_is_told_again(), pytest.raises(KeyboardInterrupt):
        await there.copy(one, new)
    assert set(await listed(there)) == {one, new}


async def test_an_owner_is_not_erased_while_the_list_cannot_be_read(
    spread: RedisStore, face: str, redis_cluster: ClusterServers, far: list[str]
) -> None:
    """Nothing is erased, and no receipt given; later everything goes, the list too."""
    await done(spread.aio, put("1", session=far[0], owner="ann"))
    with stopped(redis_cluster), pytest.raises(StoreUnavailableError):
        await erase(spread, face)
    assert spread.info(far[0]) is not None
    await erase(spread, face)
    nodes = redis_cluster.primaries()
    assert [redis_cluster.ask(node, "DBSIZE") for node in nodes] == [0] * len(nodes)


async def erase(store: RedisStore, face: str) -> None:
    """Erase the owner with one face."""
    if face == "async":
        await aerase_owner(store, "ann")
    else:
        erase_owner(store, "ann")


async def test_a_list_is_told_of_a_session_before_it_is_written(
    spread: RedisStore, face: str, redis_cluster: ClusterServers
) -> None:
    """A process that dies in between leaves a name in the list, which a page takes out."""
    there = face_of(spread, face)
    refused = await there.commit(put("1", session="one", incarnation="other", owner="ann"))
    assert refused.outcome == "gone"
    node = redis_cluster.owner(key_slot(LIST.encode()))
    assert redis_cluster.ask(node, "ZRANGE", LIST, 0, -1) == [":one", "one"]
    assert DAY_MS < redis_cluster.ask(node, "PTTL", LIST) <= DAY_MS + OUTAGE_MS
    assert await listed(there) == []
    assert redis_cluster.ask(node, "EXISTS", LIST) == 0


async def test_only_the_first_write_of_a_session_is_told_twice(
    spread: RedisStore, face: str
) -> None:
    """Three trips, then one, or two where the list was last told a second ago."""
    there = face_of(spread, face)
    await done(there, put("1", session="one", owner="ann"))  # the nodes know the scripts
    await there.delete("one")
    with counted_trips() as trips:
        first = (await done(there, put("1", session="one", owner="ann"))).life
        assert first is not None
        assert trips.count == 3
        late: dict[str, Any] = {"session": "one", "owner": "ann", "incarnation": first.incarnation}
        await done(there, put("2", parent="1", **late))
        assert trips.count == 3 + 1
        forget_when(spread)
        await done(there, put("3", parent="2", **late))
        assert trips.count == 3 + 1 + 2
