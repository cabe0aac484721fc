"""A service that Sentinels watch: its primary is used, and after a failover the next one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import pytest
import redis
import redis.asyncio.sentinel
import redis.sentinel

from backends.faces import InPlace
from cli.running import in_process
from recording import CANARY, assert_no_canary
from remedies.proposals import tries
from servers import ONCE, RedisServer, SentinelServer, sentinel_group
from wren_sessions import open_store
from wren_sessions._blocking import run
from wren_sessions.errors import StoreUnavailableError, WrenSessionsError
from wren_sessions.records import Commit
from wren_sessions.stores.redis import RedisStore
from wren_sessions.testing.build import SESSION, put

SERVICE: Final = "sessions"
GIVE_UP_S: Final = 20


@pytest.fixture(scope="module")
def group() -> Iterator[tuple[SentinelServer, RedisServer, RedisServer]]:
    """A Sentinel, a primary and a replica."""
    with sentinel_group(SERVICE) as found:
        yield found


@pytest.fixture
def sentinel(group: tuple[SentinelServer, RedisServer, RedisServer]) -> SentinelServer:
    """The Sentinel."""
    return group[0]


def url_of(sentinel: SentinelServer, scheme: str = "redis+sentinel") -> str:
    """A URL whose first Sentinel is down."""
    return f"{scheme}://127.0.0.1:1,127.0.0.1:{sentinel.port}/{SERVICE}/3"


@pytest.mark.parametrize("scheme", ["redis+sentinel", "valkey+sentinel"])
async def test_a_url_names_sentinels_and_service(sentinel: SentinelServer, scheme: str) -> None:
    """Both faces write to the database of the primary; the location says what the URL does."""
    with open_store(url_of(sentinel, scheme)) as store:
        assert store.location == url_of(sentinel)
        store.commit(put("1"))
        assert await store.aio.heads(SESSION) == (("", "1"),)
        await store.aio.delete(SESSION)
        await store.aio.close()


async def test_clients_that_sentinels_made(sentinel: SentinelServer) -> None:
    """A blocking client and an asyncio one, in whose place the store connects to the primary."""
    at = [("127.0.0.1", sentinel.port)]
    blocking = redis.sentinel.Sentinel(at).master_for(SERVICE, db=3)
    awaited = redis.asyncio.sentinel.Sentinel(at).master_for(SERVICE, db=3)
    with RedisStore.from_client(blocking) as store, RedisStore.from_client(awaited) as other:
        assert (
            store.location == other.location == f"redis+sentinel://127.0.0.1:{at[0][1]}/{SERVICE}/3"
        )
        store.commit(put("1"))
        assert await other.aio.heads(SESSION) == (("", "1"),)
        await other.aio.delete(SESSION)
        await other.aio.close()
        await awaited.connection_pool.disconnect()


@pytest.mark.parametrize("made", ["url", "client"])
def test_errors_name_the_service(made: str) -> None:
    """Where no Sentinel answers, location and error name Sentinels and service, and no password."""
    kept = f"redis+sentinel://me:{CANARY}@127.0.0.1:1,127.0.0.1:2/{SERVICE}"
    at = [("127.0.0.1", 1), ("127.0.0.1", 2)]
    once: Any = {"retry": ONCE}
    sentinels = redis.sentinel.Sentinel(at, sentinel_kwargs=once, password=CANARY, **once)
    with (
        open_store(kept, sentinel_password=CANARY)
        if made == "url"
        else RedisStore.from_client(sentinels.master_for(SERVICE))
    ) as store:
        with pytest.raises(StoreUnavailableError, match="name of the service") as caught:
            store.ping()
        where = f"redis+sentinel://127.0.0.1:1,127.0.0.1:2/{SERVICE}/0"
        assert where in str(caught.value)
        assert_no_canary(caught.value)
        assert CANARY not in repr(store)
        there: Any = store
        assert there.diagnose().trouble == "sentinel"


@tries(
    "check the name of the service, and that the Sentinels and the primary run",
    "check the service's name in the URL, and that the Sentinels and the primary run",
)
def test_the_name_of_the_service_is_what_is_wrong(
    sentinel: SentinelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the right name it works, as the error and the command say."""
    right = url_of(sentinel)
    wrong = right.replace(SERVICE, "another")
    with open_store(wrong) as store, pytest.raises(StoreUnavailableError, match="name of the serv"):
        store.ping()
    cli = in_process(capsys)
    assert "check the service's name in the URL" in " ".join(cli("check", url=wrong).out.split())
    assert "check the service's name" not in " ".join(cli("check", url=right).out.split())


async def test_a_failover_is_errors_for_a_while(
    group: tuple[SentinelServer, RedisServer, RedisServer],
) -> None:
    """Calls of both faces raise errors of ours until the replica is the primary, and then work."""
    sentinel, primary, replica = group
    async with open_store(url_of(sentinel), socket_timeout=1) as opened:
        store: Any = opened
        store.commit(put("1"))
        await store.aio.commit(put("1", session="awaited"))
        with redis.Redis.from_url(primary.url) as client:
            assert client.wait(1, 5_000) == 1
        primary.kill()
        failed = await asyncio.gather(
            asyncio.to_thread(run, _until(InPlace(store).commit, put("2", parent="1"))),
            _until(store.aio.commit, put("2", parent="1", session="awaited")),
        )
        assert all(failed)
        assert store.heads(SESSION) == await store.aio.heads("awaited") == (("", "2"),)
        with redis.Redis.from_url(f"redis://127.0.0.1:{replica.port}/3") as client:
            assert client.exists(f"langgraph:checkpoint:{SESSION}:latest")


async def _until(call: Callable[[Commit], Awaitable[object]], turn: Commit) -> bool:
    """Send a turn until that works; whether it did not at first."""
    deadline, failed = time.monotonic() + GIVE_UP_S, False
    while True:
        try:
            await call(turn)
        except WrenSessionsError:
            assert time.monotonic() < deadline
            failed = True
        else:
            return failed
