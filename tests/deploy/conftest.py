"""A server on each backend, which the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.running import PATH, AgentServer, need_server
from servers import start_server

BACKENDS = ("file", "redis")


@pytest.fixture(scope="module", params=BACKENDS)
def store_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of a store for the tests of a module."""
    need_server()
    if request.param == "file":
        yield f"file:{tmp_path_factory.mktemp('store') / 'sessions.db'}"
        return
    with start_server() as redis:
        yield redis.url


@pytest.fixture(scope="module")
def server(store_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentServer]:
    """A server that keeps its checkpoints there."""
    config = {"checkpointer": {"path": PATH}, "env": {"WREN_SESSIONS_URL": store_url}}
    with AgentServer(tmp_path_factory.mktemp("server"), config) as running:
        yield running
