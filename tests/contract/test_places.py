"""Every engine and every way to reach one: some of the contract, LangGraph's kit, and graphs.

``nox -s engines`` runs all of them on each.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.memory import InMemorySaver
from redis import Redis

from contract.real_time import RealTime
from places import PLACES, Place
from saver.apps import App
from saver.scenarios import SCENARIOS
from servers import leaked_keys
from wren_sessions import SessionSaver
from wren_sessions.protocols import SessionStore
from wren_sessions.stores.redis import RedisStore
from wren_sessions.testing import MakeStore
from wren_sessions.testing.contract_commits import CommitContract
from wren_sessions.testing.contract_copies import CopyContract
from wren_sessions.ttl import TTLPolicy

pytestmark = pytest.mark.redis_server


@pytest.fixture(scope="module", params=PLACES)
def opened(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A place."""
    with PLACES[request.param]() as place:
        yield place


@pytest.fixture
def url(opened: Place) -> Iterator[str]:
    """Its URL, while it is empty; afterwards each key left there has to expire or be pinned."""
    opened.clear()
    yield opened.url
    for admin in opened.admin:
        with Redis.from_url(admin) as client:
            assert not leaked_keys(client)


class TestPlaces(RealTime, CommitContract, CopyContract):
    """Commits are atomic and applied once, and copies whole."""

    @pytest.fixture
    def make_store(self, url: str) -> MakeStore:
        """Stores that connect by URL."""

        def make(*, ttl: TTLPolicy | None = None) -> SessionStore:
            return RedisStore.from_url(url, ttl=ttl)

        return make


async def test_the_kit_finds_no_fault(url: str) -> None:
    """All capabilities of a checkpointer, in LangGraph's own words."""

    @checkpointer_test(name="place")
    async def savers() -> AsyncGenerator[BaseCheckpointSaver[str], None]:
        async with RedisStore.from_url(url) as store:
            yield SessionSaver(store)

    report = await validate(savers)
    for result in report.results.values():
        assert not result.failures, "\n\n".join(result.failures)
        assert result.tests_passed


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize("name", ["parallel_interrupts", "time_travel"])
async def test_a_graph_does_what_it_does_in_memory(url: str, name: str, face: str) -> None:
    """Results, states, histories and all stored checkpoints are the same."""
    expected = App(InMemorySaver(), face)
    await SCENARIOS[name](expected)
    async with RedisStore.from_url(url) as store:
        app = App(SessionSaver(store), face)
        await SCENARIOS[name](app)
    assert app.notes == expected.notes


def test_the_server_says_what_it_is(url: str) -> None:
    """`diagnose` finds no trouble, and names an engine that it knows."""
    with RedisStore.from_url(url) as store:
        diagnosis = store.diagnose()
        assert diagnosis.trouble is None
        assert diagnosis.facts.get("server", "Redis") in {"Redis", "Valkey"}
