"""`open_store` and `Settings`: what decides, what is logged, and the real stores behind."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from datetime import timedelta
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import redis

from recording import CANARY, VARIABLES, Recorder, empty_environment, recorded, refusal
from wren_sessions import FileStore, MemoryStore, RedisStore
from wren_sessions.config import Settings, open_store
from wren_sessions.config.backends import BACKENDS
from wren_sessions.config.options import COMMON
from wren_sessions.config.schemes import NAMED
from wren_sessions.delta.protection import protection_of
from wren_sessions.errors import ConfigurationError
from wren_sessions.serializers.compression import Compression
from wren_sessions.serializers.encryption import Encryption
from wren_sessions.ttl import DAY, FOREVER, TTLPolicy


@pytest.fixture(autouse=True)
def environment(tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """An environment without variables of ours, in a folder without a ``.env``."""
    with empty_environment(tmp_path) as patch:
        yield patch


@pytest.fixture
def made() -> Iterator[Recorder]:
    """The stores made in this test."""
    with recorded() as recorder:
        yield recorder


def test_url_decides(made: Recorder, environment: pytest.MonkeyPatch) -> None:
    """With a URL, the variables name neither store nor lifetime nor prefix."""
    environment.setenv("WREN_SESSIONS_URL", "file:other.db")
    environment.setenv("WREN_SESSIONS_TTL", "garbage")
    environment.setenv("WREN_SESSIONS_PREFIX", "other")
    environment.setenv("REDIS_PORT", "garbage")
    open_store("redis://h")
    assert (made.last.at, made.last.ttl) == ("redis://h", DAY)
    assert made.last.prefix == "langgraph:checkpoint"


def test_variables_decide(made: Recorder, environment: pytest.MonkeyPatch) -> None:
    """Without a URL, the variables say everything, and options can be added."""
    environment.setenv("WREN_SESSIONS_URL", "redis://h?socket_timeout=3")
    environment.setenv("WREN_SESSIONS_TTL", "1h")
    environment.setenv("WREN_SESSIONS_PREFIX", "app")
    open_store(max_connections=4)
    assert (made.last.at, made.last.ttl) == ("redis://h", TTLPolicy(idle="1h"))
    assert made.last.prefix == "app"
    assert made.last.options == {"socket_timeout": 3.0, "max_connections": 4}


def test_arguments_win_over_variables(made: Recorder, environment: pytest.MonkeyPatch) -> None:
    """A policy and a prefix that are passed win over those of the variables."""
    environment.setenv("WREN_SESSIONS_TTL", "1h")
    environment.setenv("WREN_SESSIONS_PREFIX", "app")
    open_store(ttl=TTLPolicy(idle="2h"), prefix="mine", use_redis=False)
    assert (made.last.ttl, made.last.prefix) == (TTLPolicy(idle="2h"), "mine")


def test_explicit_policy_wins_over_the_default(made: Recorder) -> None:
    """A policy that is passed replaces the backend's default as a whole."""
    policy = TTLPolicy(idle=None, max_age="7d", refresh="never")
    for url in ("memory://", "file:s.db", "redis://h"):
        open_store(url, ttl=policy)
    assert {store.ttl for store in made.stores} == {policy}


@pytest.mark.parametrize(
    ("url", "arguments", "words"),
    [
        ("redis://h?ttl=1h", {"ttl": DAY}, "'ttl' has one value in the URL and another"),
        ("redis://h?max_age=1h", {"ttl": DAY}, "'max_age' has one value in the URL"),
        ("redis://h?refresh=read", {"ttl": DAY}, "'refresh' has one value in the URL"),
        ("redis://h?prefix=a", {"prefix": "b"}, "'prefix' has one value in the URL"),
    ],
)
def test_url_against_arguments(url: str, arguments: dict[str, Any], words: str) -> None:
    """Lifetime and prefix may not have one value in the URL and another outside."""
    assert words in refusal(lambda: open_store(url, **arguments))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("WREN_SESSIONS_TTL", "2h"),
        ("WREN_SESSIONS_MAX_AGE", "2h"),
        ("WREN_SESSIONS_PREFIX", "b"),
    ],
)
def test_url_against_variables(variable: str, value: str, environment: pytest.MonkeyPatch) -> None:
    """The URL in a variable and the other variables may not differ either."""
    environment.setenv("WREN_SESSIONS_URL", "redis://h?ttl=1h&max_age=1h&prefix=a")
    environment.setenv(variable, value)
    message = refusal(open_store)
    assert message.startswith("WREN_SESSIONS_URL: ")
    assert variable in message


def test_same_value_in_url_and_argument(made: Recorder) -> None:
    """Saying the same twice is fine."""
    open_store("redis://h?ttl=24h&prefix=a", ttl=DAY, prefix="a")
    assert (made.last.ttl, made.last.prefix) == (DAY, "a")


def test_ttl_must_be_a_lifetime() -> None:
    """What is neither a policy nor a duration is refused with what to write instead."""
    wrong: Any
    for wrong in ("tomorrow", {"idle": "24h"}):
        assert "write '24h'" in refusal(lambda: open_store("memory://", ttl=wrong))  # noqa: B023
        assert "write '24h'" in refusal(lambda: Settings(ttl=wrong))  # noqa: B023


def test_nothing_configured(made: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    """With nothing configured, sessions are in memory, and one warning says so."""
    caplog.set_level(logging.INFO, "wren_sessions")
    open_store()
    levels = [record.levelno for record in caplog.records]
    assert made.last.backend == "memory"
    assert sorted(levels) == [logging.INFO, logging.WARNING]
    assert "end with this process" in caplog.text


def test_memory_that_was_asked_for(made: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    """Memory by URL or by use_redis=False is no reason for a warning."""
    caplog.set_level(logging.INFO, "wren_sessions")
    open_store("memory://")
    open_store(use_redis=False)
    assert [record.levelno for record in caplog.records] == [logging.INFO] * 2
    assert len(made.stores) == 2


@pytest.mark.parametrize("ttl", ["1h", 3600, 3600.0, timedelta(hours=1)])
def test_a_duration_is_an_idle_timeout(ttl: Any, tmp_path: Path) -> None:
    """Wherever a policy goes; beside a URL it is what the URL calls ``ttl``."""
    made = TTLPolicy(idle="1h")
    assert MemoryStore(ttl=ttl).ttl == made
    assert FileStore(tmp_path / "x.db", ttl=ttl).ttl == made
    assert RedisStore.from_url("redis://localhost", ttl=ttl).ttl == made
    assert RedisStore.from_client(redis.Redis(), ttl=ttl).ttl == made
    assert Settings("memory://", ttl=ttl).open().ttl == made
    assert open_store("memory://", ttl=ttl).ttl == made
    older = open_store("memory://?max_age=30d&refresh=read", ttl=ttl).ttl
    assert older == TTLPolicy(idle="1h", max_age="30d", refresh="read")
    assert open_store("memory://?ttl=60m", ttl=ttl).ttl == made
    with pytest.raises(ConfigurationError, match="'ttl' has one value in the URL and another"):
        open_store("memory://?ttl=2h", ttl=ttl)


def test_log_of_location_and_lifetime(caplog: pytest.LogCaptureFixture) -> None:
    """The log says where sessions are, what decided, and how long they live, and no password."""
    caplog.set_level(logging.INFO, "wren_sessions")
    open_store(f"redis://user:{CANARY}@h:1/2?max_age=30d").close()
    (record,) = caplog.records
    assert record.name == "wren_sessions"
    assert record.getMessage().endswith(
        "h:1/2 (decided by: argument): idle 1d, at most 30d old, refreshed on write"
    )
    assert CANARY not in caplog.text


def test_without_redis(environment: pytest.MonkeyPatch, made: Recorder) -> None:
    """With use_redis=False, sessions are in memory even where REDIS_HOST is set."""
    environment.setenv("REDIS_HOST", "h")
    open_store(use_redis=False)
    assert made.last.backend == "memory"


@pytest.mark.parametrize(
    "scheme", ["redis", "rediss", "unix", "valkey", "valkeys", "redis+cluster"]
)
def test_url_of_redis_without_redis(scheme: str) -> None:
    """A URL of Redis and use_redis=False contradict each other."""
    url = f"{scheme}://:{CANARY}@h"
    assert "use_redis is False" in refusal(lambda: open_store(url, use_redis=False))


def test_other_url_without_redis(made: Recorder) -> None:
    """Any other URL goes together with use_redis=False."""
    open_store("file:s.db", use_redis=False)
    assert made.last.backend == "file"


@pytest.mark.parametrize("arguments", [{}, {"url": "memory://"}, {"use_redis": False}])
def test_persistent_store_is_required(
    arguments: dict[str, Any], made: Recorder, environment: pytest.MonkeyPatch
) -> None:
    """Memory is refused where a persistent store is required, by argument or by variable."""
    words = "a persistent store is required"
    assert words in refusal(lambda: open_store(**arguments, require_persistent=True))
    environment.setenv("WREN_SESSIONS_REQUIRE_PERSISTENT", "1")
    assert words in refusal(lambda: open_store(**arguments))
    assert all(store.closed for store in made.stores)
    open_store(**arguments, require_persistent=False)
    assert not made.last.closed


@pytest.mark.parametrize("url", ["file:s.db", "redis://h"])
def test_persistent_stores_are_persistent(url: str, made: Recorder) -> None:
    """A file and a server will do where a persistent store is required."""
    open_store(url, require_persistent=True)
    assert not made.last.closed


def test_keys_of_the_environment_hold_for_every_store(environment: pytest.MonkeyPatch) -> None:
    """With a URL or without; keys that cannot be used are an error, not a plain store."""
    keys = f"{Encryption.generate_key('new')},{Encryption.generate_key('old')}"
    Path(".env").write_text(f"WREN_SESSIONS_ENCRYPTION_KEYS={keys}\n")
    for store in (open_store("memory://"), open_store()):
        found = protection_of(store).encryption
        assert found is not None
        assert found.key_ids == ("new", "old")
    Path(".env").write_text(f"WREN_SESSIONS_ENCRYPTION_KEYS={CANARY}\n")
    assert "WREN_SESSIONS_ENCRYPTION_KEYS: an encryption key begins" in refusal(open_store)
    assert "begins with its id" in refusal(lambda: open_store("memory://"))
    assert protection_of(open_store("memory://", dotenv=False)).encryption is None


def test_encryption_and_compression_are_arguments_too() -> None:
    """The argument wins over the environment; compression may stand in the URL."""
    mine = Encryption([Encryption.generate_key("mine")])
    assert protection_of(open_store("memory://", encryption=mine)).encryption is mine
    for text, level in (("zstd", 3), ("none", None)):
        found = protection_of(open_store(f"memory://?compression={text}&ttl=1h")).compression
        assert (found and found.level) == level
    best = Compression(level=19)
    assert protection_of(open_store("memory://", compression=best)).compression is best
    wrong: Any = "k1:…"
    assert "or None" in refusal(lambda: open_store("memory://", encryption=wrong))
    assert "or None" in refusal(lambda: open_store("memory://", compression=wrong))
    assert "compression" in refusal(lambda: open_store("memory://?compression=gzip"))


def test_settings_are_frozen_and_comparable() -> None:
    """Settings are a value: they compare, and cannot be changed but by making new ones."""
    settings = Settings(url="redis://h")
    assert replace(settings, prefix="a") == Settings(url="redis://h", prefix="a")
    with pytest.raises(FrozenInstanceError):
        settings.url = "memory://"  # type: ignore[misc]


def test_settings_open(made: Recorder) -> None:
    """Settings can be made in code and opened as often as needed."""
    settings = Settings(url="file:s.db", ttl=DAY, prefix="app")
    assert settings.open() is not settings.open(busy_timeout=1)
    assert {(store.ttl, store.prefix) for store in made.stores} == {(DAY, "app")}


def test_broken_url_is_not_shown() -> None:
    """Settings with a URL that cannot work have a repr without it."""
    shown = repr(Settings(url=f"redis://user:{CANARY}/@h"))
    assert "redis://***" in shown
    assert CANARY not in shown


def test_import_loads_no_driver() -> None:
    """Importing the module loads neither redis nor langgraph nor pydantic, and reads nothing."""
    heavy = "redis langgraph pydantic dotenv msgpack cryptography zstandard"
    code = (
        "import sys, wren_sessions.config; "
        f"sys.exit(','.join(set({heavy!r}.split()) & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_every_scheme_option_and_variable_is_documented() -> None:
    """The reference lists what the tables hold, and the example file lists the variables."""
    root = Path(__file__).parent.parent
    reference = (root / "docs/reference/configuration.md").read_text("utf-8")
    example = (root / ".env.example").read_text("utf-8")
    options = {option for backend in BACKENDS.values() for option in backend.options}
    arguments = {option for backend in BACKENDS.values() for option in backend.arguments}
    for name in (*options, *arguments, *COMMON, *VARIABLES):
        assert f"`{name}`" in reference, name
    for scheme in BACKENDS:
        assert f"`{scheme}:" in reference, scheme
    for variable in VARIABLES:
        assert f"{variable}=" in example, variable


def test_example_file_can_be_read() -> None:
    """The example file, copied as it is, names the server that it shows."""
    settings = Settings.from_env({}, dotenv=Path(__file__).parent.parent / ".env.example")
    assert "your-redis-password-here@your-redis-instance.redis-cloud.com:17887" in settings.url


# --- the real stores ------------------------------------------------------------------------------


def test_real_memory() -> None:
    """The memory store takes every option of its URL."""
    with open_store("memory://?max_sessions=3&max_bytes=1k&ttl=1h&prefix=a") as store:
        store.ping()
        assert (store.location, store.persistent) == ("memory://", False)
        assert (store.ttl, store.keys.prefix) == (TTLPolicy(idle="1h"), "a")


def test_real_file(tmp_path: Path) -> None:
    """The file store takes every option of its URL, relative to the working directory."""
    url = "file:my%20sessions.db?synchronous=normal&busy_timeout=250ms&threads=2"
    with open_store(url) as store:
        store.ping()
        assert store.info("nobody") is None
        assert (store.persistent, store.ttl) == (True, FOREVER)
    assert (tmp_path / "my sessions.db").exists()


async def test_real_file_awaited(tmp_path: Path) -> None:
    """The store is an asynchronous context manager as well."""
    async with open_store(f"file://{tmp_path}/s.db") as store:
        assert await store.aio.info("nobody") is None


def test_real_redis(redis_url: str) -> None:
    """The Redis store takes every option of its URL."""
    options = (
        "socket_timeout=5s&socket_connect_timeout=5s&max_connections=4&health_check_interval=30"
        "&client_name=wren&protocol=2&socket_keepalive=yes&ttl=1h&prefix=app"
    )
    with open_store(f"{redis_url}?{options}") as store:
        store.ping()
        assert store.location == redis_url
        assert (store.ttl, store.keys.prefix) == (TTLPolicy(idle="1h"), "app")


def test_real_redis_from_variables(redis_url: str, environment: pytest.MonkeyPatch) -> None:
    """The variables of the guide reach a real server."""
    parts = urlsplit(redis_url)
    environment.setenv("REDIS_HOST", str(parts.hostname))
    environment.setenv("REDIS_PORT", str(parts.port or 6379))
    environment.setenv("REDIS_PASSWORD", unquote(parts.password or ""))
    with open_store() as store:
        store.ping()
        assert store.persistent


def test_real_redis_that_is_down() -> None:
    """A store on a server that is not there can be made, and its errors hide the password."""
    store = open_store(f"redis://user:{CANARY}@127.0.0.1:1?socket_connect_timeout=200ms")
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- what matters is what it shows
        store.ping()
    assert not isinstance(caught.value, ConfigurationError)
    assert CANARY not in f"{caught.value!r} {store!r} {store.location}"
    store.close()


def test_a_misspelled_argument_gets_the_nearest() -> None:
    """Also one that every backend has; all of them are listed where none is near."""
    for url in ("memory://", "file:x.db", "redis://localhost"):
        assert "did you mean 'ttl'?" in refusal(partial(open_store, url, tttl=1))
    assert "dotenv, encryption, " in refusal(lambda: open_store("memory://", zzzzzz=1))
    assert set(NAMED) == {
        name
        for name, one in signature(open_store).parameters.items()
        if one.kind is one.KEYWORD_ONLY
    }
