"""Fixtures of a real Redis server and of a fake one, and the check for keys that tests leave."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator
from contextlib import ExitStack

import pytest
from fakeredis import FakeRedis, FakeServer
from hypothesis import HealthCheck, settings
from redis import Redis

from places import VARIABLE, at_place
from servers import ClusterServers, ServerAddress, leaked_keys, processes, shared_server

SERVER_FIXTURE = "redis_server"
SERVER_MARKER = "redis_server"


def pytest_configure() -> None:
    """Start from the same state in every process of the tests, whoever started it."""
    hear_interrupts()
    forget_terminal()


def hear_interrupts() -> None:
    """Hear Ctrl-C, also where the tests run in the background and were told to ignore it.

    The second processes that tests interrupt would inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def forget_terminal() -> None:
    """Have commands ask the terminal that they run in for its size.

    readline writes the size of this one into the environment of pytest-xdist's processes.
    """
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)


settings.register_profile(
    "patient",  # an example may take as long as it does: machines are busy
    parent=settings.default,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("patient")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave what is loaded and collected out of garbage collections, here and from then on.

    It lives to the end of the run, and to look through it takes as long as some tests wait for.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """How many processes ``-n auto`` makes."""
    return processes()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use the real server, also where another fixture asks for it."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if SERVER_FIXTURE in fixtures or item.get_closest_marker(SERVER_MARKER):
            mark_server_test(item)


def mark_server_test(item: pytest.Item) -> None:
    """Mark one test, once, in the run and in its JUnit report."""
    if (SERVER_MARKER, True) not in item.user_properties:
        item.user_properties.append((SERVER_MARKER, True))
        item.add_marker(SERVER_MARKER)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[ServerAddress]:
    """The server all tests share; one to stop or to set up differently: `start_server`."""
    place = os.environ.get(VARIABLE)
    with at_place(place) if place else shared_server() as address:
        yield address


@pytest.fixture
def redis_url(request: pytest.FixtureRequest, redis_server: ServerAddress) -> Iterator[str]:
    """URL of an empty database; afterwards each key left there has to expire or be pinned."""
    mark_server_test(request.node)  # a test may ask for this fixture only once it runs
    with ExitStack() as closed:
        urls = (redis_server.url, *redis_server.others)
        clients = [closed.enter_context(Redis.from_url(url)) for url in urls]
        for client in clients:
            client.flushdb()
            closed.callback(client.flushdb)
        yield redis_server.reached or redis_server.url
        for client in clients:
            check_no_leak(request.node, client)


def check_no_leak(item: pytest.Item, client: Redis) -> None:
    """Fail if the test left keys it should not leave, unless its ``leaves_keys`` says why."""
    marker = item.get_closest_marker("leaves_keys")
    if marker is None:
        faults = leaked_keys(client)
        assert not faults, "\n".join(["the test left in Redis:", *faults])
    else:
        assert marker.args, "leaves_keys needs a reason: @pytest.mark.leaves_keys('…')"


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[ClusterServers]:
    """A cluster that tests share: three primaries and their replicas."""
    servers = ClusterServers()
    yield servers
    servers.close()


@pytest.fixture
def cluster_url(request: pytest.FixtureRequest, redis_cluster: ClusterServers) -> Iterator[str]:
    """URL of an empty cluster; afterwards each key left there has to expire or be pinned."""
    mark_server_test(request.node)
    for server in redis_cluster.primaries():
        redis_cluster.ask(server, "FLUSHALL")
    yield redis_cluster.url
    for server in redis_cluster.primaries():
        with Redis.from_url(server.url) as client:
            check_no_leak(request.node, client)


@pytest.fixture
def fake_redis() -> Iterator[FakeRedis]:
    """A client of a new, empty fake server, which runs Lua."""
    with FakeRedis(server=FakeServer()) as client:
        yield client
