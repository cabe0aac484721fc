"""Store URLs: what each means, what each refuses, and that none gives its password away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.connection import parse_url

from recording import CANARY, Recorder, assert_no_canary, empty_environment, recorded, refusal
from wren_sessions import Sessions, SessionSaver, open_store
from wren_sessions.config import Settings
from wren_sessions.config.urls import redact, split_url
from wren_sessions.errors import ConfigurationError
from wren_sessions.keys import DEFAULT_PREFIX
from wren_sessions.ttl import DAY, FOREVER, TTLPolicy

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
UNENCODED = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/?#%"), min_size=1
)


@pytest.fixture(autouse=True)
def _nothing_configured(tmp_path: Path) -> Iterator[None]:
    with empty_environment(tmp_path):
        yield


@pytest.fixture
def made() -> Iterator[Recorder]:
    """The stores made in this test."""
    with recorded() as recorder:
        yield recorder


def open_url(url: str, **options: Any) -> None:
    """Open a URL, without a look at the environment."""
    Settings(url=url).open(**options)


@pytest.mark.parametrize(
    ("url", "backend", "at"),
    [
        ("memory://", "memory", None),
        ("memory:", "memory", None),
        ("MEMORY://", "memory", None),
        ("file:sessions.db", "file", Path("sessions.db")),
        ("file:./data/sessions.db", "file", Path("data/sessions.db")),
        ("file:/srv/sessions.db", "file", Path("/srv/sessions.db")),
        ("file:///srv/sessions.db", "file", Path("/srv/sessions.db")),
        ("file:////srv/sessions.db", "file", Path("/srv/sessions.db")),
        ("file:my%20sessions%3F.db", "file", Path("my sessions?.db")),
        ("file:my sessions@home.db", "file", Path("my sessions@home.db")),
        ("file:~/sessions.db", "file", Path.home() / "sessions.db"),
        ("redis://", "redis", "redis://"),
        ("redis://localhost", "redis", "redis://localhost"),
        ("redis://localhost:6380/", "redis", "redis://localhost:6380"),
        ("REDIS://localhost/007", "redis", "redis://localhost/7"),
        ("redis://localhost?db=3", "redis", "redis://localhost/3"),
        ("redis://localhost/3?db=3", "redis", "redis://localhost/3"),
        ("rediss://u:p@h.example:1/2", "redis", "rediss://u:p@h.example:1/2"),
        ("valkey://h:1/2", "redis", "redis://h:1/2"),
        ("valkeys://:p@h", "redis", "rediss://:p@h"),
        ("redis://[::1]:6379/0", "redis", "redis://[::1]:6379/0"),
        ("unix:///run/redis.sock", "redis", "unix:///run/redis.sock"),
        ("unix://u:p@/run/redis.sock", "redis", "unix://u:p@/run/redis.sock"),
    ],
)
def test_url_names_its_store(url: str, backend: str, at: object, made: Recorder) -> None:
    """Each form of URL makes a store of its backend at the place it names."""
    open_url(url)
    assert (made.last.backend, made.last.at, made.last.options) == (backend, at, {})


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("memory://?max_sessions=10&max_bytes=64M", {"max_sessions": 10, "max_bytes": 64 << 20}),
        ("memory://?max_bytes=1k", {"max_bytes": 1024}),
        ("memory://?max_bytes=2G", {"max_bytes": 2 << 30}),
        (
            "file:s.db?synchronous=normal&busy_timeout=5",
            {"synchronous": "normal", "busy_timeout": timedelta(seconds=5)},
        ),
        (
            "redis://h?socket_timeout=1m&socket_connect_timeout=250ms",
            {"socket_timeout": 60.0, "socket_connect_timeout": 0.25},
        ),
        ("redis://h?socket_timeout=none", {"socket_timeout": None}),
        (
            "redis://h?max_connections=9&health_check_interval=30s&client_name=wren",
            {"max_connections": 9, "health_check_interval": 30.0, "client_name": "wren"},
        ),
        (
            "redis://h?health_check_interval=0&protocol=3",
            {"health_check_interval": 0.0, "protocol": 3},
        ),
        ("redis://h?socket_keepalive=off", {"socket_keepalive": False}),
        ("unix:///s?db=4", {"db": 4}),
        (
            "rediss://h?ssl_ca_certs=%2Fca.pem&ssl_cert_reqs=optional&ssl_check_hostname=no",
            {"ssl_ca_certs": "/ca.pem", "ssl_cert_reqs": "optional", "ssl_check_hostname": False},
        ),
    ],
)
def test_options_are_typed(url: str, options: dict[str, object], made: Recorder) -> None:
    """A backend gets the options of its URL as numbers, seconds, booleans and words."""
    open_url(url)
    assert made.last.options == options


def test_options_are_the_same_as_arguments(made: Recorder) -> None:
    """An argument may be text as in a URL, or what the text stands for."""
    open_url("redis://h", socket_timeout="250ms", max_connections="5", protocol=3, db=2)
    open_url("redis://h", socket_timeout=timedelta(milliseconds=250), max_connections=5)
    first, second = (store.options for store in made.stores)
    assert first == {"socket_timeout": 0.25, "max_connections": 5, "protocol": 3}
    assert second == {"socket_timeout": 0.25, "max_connections": 5}
    assert made.stores[0].at == "redis://h/2"
    open_url("rediss://h", ssl_ca_certs=Path("/ca.pem"), ssl_check_hostname=True)
    assert made.last.options == {"ssl_ca_certs": "/ca.pem", "ssl_check_hostname": True}


def test_arguments_that_no_url_can_hold(made: Recorder) -> None:
    """A login, a provider of logins, and None pass to the store as they are."""
    provider = object()
    open_url("redis://h", credential_provider=provider, socket_timeout=None)
    assert made.last.options == {"credential_provider": provider, "socket_timeout": None}
    open_url("redis://u@h", password=CANARY, username="u")
    assert made.last.options == {"password": CANARY, "username": "u"}


def test_same_value_twice_is_no_contradiction(made: Recorder) -> None:
    """An option in the URL may be repeated as an argument with the same value."""
    open_url("redis://h/3?socket_timeout=5", socket_timeout="5s", db=3)
    assert made.last.options == {"socket_timeout": 5.0}


@pytest.mark.parametrize(
    ("url", "ttl"),
    [
        ("memory://", DAY),
        ("redis://h", DAY),
        ("unix:///s", DAY),
        ("file:s.db", FOREVER),
        ("file:s.db?ttl=1h", TTLPolicy(idle="1h")),
        ("file:s.db?max_age=30d", TTLPolicy(idle=None, max_age="30d")),
        ("redis://h?max_age=30d", TTLPolicy(idle="24h", max_age="30d")),
        ("redis://h?ttl=none", FOREVER),
        ("redis://h?ttl=90&max_age=none&refresh=read", TTLPolicy(idle=90, refresh="read")),
    ],
)
def test_lifetime_of_a_url(url: str, ttl: TTLPolicy, made: Recorder) -> None:
    """The URL says how long sessions live, and the backend says the rest."""
    open_url(url)
    assert made.last.ttl == ttl


def test_prefix_of_a_url(made: Recorder) -> None:
    """The URL may name the prefix; it is the usual one if not."""
    open_url("memory://")
    open_url("memory://?prefix=app:sessions")
    assert [store.prefix for store in made.stores] == [DEFAULT_PREFIX, "app:sessions"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "empty"),
        ("sessions.db", "file:sessions.db"),
        ("//host", "begin with a scheme"),
        (f"user:{CANARY}@host:6379", "begin with a scheme"),
        (f"redis:user:{CANARY}@host", "begin with a scheme"),
        (f"redis://:{CANARY}@host\n", "control characters"),
        (f"redis://:{CANARY}@host\udcff", "control characters"),
        (f"redsi://user:{CANARY}@host", "'redsi'; did you mean 'redis'?"),
        (
            f"postgres://user:{CANARY}@host",
            "known: file, memory, redis, redis+cluster, ",
        ),
        (f"redis+cluster://:{CANARY}@h1:1,h2:2/1", "a cluster has only database 0"),
        (f"rediss+cluster://:{CANARY}@h1:1,h2:2?db=1", "unknown option 'db'"),
        (f"redis+cluster://:{CANARY}@h1:1?failover_timeout=none", "must be a duration"),
        (f"redis+sentinel://:{CANARY}@h1:1,h2:2", "the service that the Sentinels watch"),
        (f"redis+sentinel://:{CANARY}@h1:1,h2:2/main/x", "redis+sentinel://host:26379/mymaster/0"),
        (f"rediss+sentinel://:{CANARY}@h1:1,/main", "no host that can be used"),
        (f"redis+sentinel://:{CANARY}@h1:1,h2:x/main", "must be a number from 1 to"),
        (f"redis+sentinel://:{CANARY}@h1:1/main/1?db=2", "names one database"),
        (f"valkey+cluster://:{CANARY}@", "no host that can be used"),
        ("memory://sessions", "nothing but options"),
        ("memory:///sessions", "nothing but options"),
        (f"memory://user:{CANARY}@host", "nothing but options"),
        ("file:", "must name a file"),
        ("file://", "must name a file"),
        ("file:///", "must name a file"),
        ("file:folder/", "must name a file"),
        ("file:a%00b", "must name a file"),
        ("file:%ff", "must name a file"),
        ("file://sessions.db", "no host: write file:relative.db"),
        ("file://localhost/s.db", "three slashes"),
        (f"file://user:{CANARY}@host/s.db", "no host"),
        ("file::memory:", "memory://"),
        ("file:///:memory:", "memory://"),
        ("file:a#b.db", "%23"),
        (f"redis://user:{CANARY}@host:bad", "the port of the redis URL"),
        (f"redis://user:{CANARY}@host:0", "from 1 to 65535"),
        (f"redis://user:{CANARY}@host:65536", "from 1 to 65535"),
        (f"redis://user:{CANARY}@host:", "from 1 to 65535"),
        (f"redis://host:{CANARY}", "if this was part of a password"),
        (f"redis://:{CANARY}", "no host"),
        ("redis://:6379", "no host"),
        (f"redis://user:{CANARY}@", "no host"),
        (f"redis://user:{CANARY}@:6379", "no host"),
        (f"redis://user:{CANARY}@ho st", "no host"),
        (f"redis://user:{CANARY}@höst", "no host"),
        (f"redis://user:{CANARY}@ho\u2100st", "no host"),
        (f"redis://user:{CANARY}@[::1", "no host"),
        (f"redis://user:{CANARY}@[::x]", "no host"),
        (f"redis://user:{CANARY}@host:1:2", "no host"),
        (f"redis://user:{CANARY}/1@host", "%2F"),
        (f"redis://user:{CANARY}?1@host", "%3F"),
        (f"redis://user:{CANARY}#1@host", "%23"),
        (f"redis://user:1/{CANARY}@host", "%2F"),
        (f"redis://user:1?ttl={CANARY}@host", "%3F"),
        (f"redis://user:{CANARY}@host#1", "%23"),
        ("redis://host/first", "number of a database"),
        (f"redis://user:{CANARY}@host/0/1", "number of a database"),
        (f"redis://user:{CANARY}@host/-1", "number of a database"),
        (f"redis://user:{CANARY}@host/1?db=2", "option 'db'"),
        (f"unix://user:{CANARY}@host/s", "absolute path"),
        (f"unix://user:{CANARY}@", "absolute path"),
        ("unix:///", "absolute path"),
    ],
)
def test_url_that_cannot_work(url: str, words: str, made: Recorder) -> None:
    """A URL that cannot work is refused: the message says what to write, and hides the password."""
    assert words in refusal(lambda: open_url(url))
    assert CANARY not in redact(url)
    assert not made.stores


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("socket_timout=5", "unknown option 'socket_timout'; did you mean 'socket_timeout'?"),
        ("zzz=1", "unknown option 'zzz' (known here: client_name, compression, db, "),
        ("max_bytes=1", "unknown option 'max_bytes'"),
        (f"password={CANARY}", "'password': it is part of the URL"),
        (f"username={CANARY}", "'username': it is part of the URL"),
        ("ssl_ca_certs=x", "'ssl_ca_certs': TLS takes a URL with rediss://"),
        ("decode_responses=1", "RedisStore.from_client"),
        ("ttl=1h&ttl=1h", "'ttl' twice"),
        ("db=1&db=2", "'db' twice"),
        ("ttl=", "'ttl' without a value"),
        ("ttl", "'ttl' without a value"),
        (f"ttl={CANARY}", "'ttl' must be a duration"),
        ("ttl=0", "'ttl' must be a duration"),
        ("ttl=-5", "'ttl' must be a duration"),
        ("ttl=200000d", "at most 100 years"),
        ("max_age=soon", "'max_age' must be a duration"),
        ("refresh=always", "'refresh' must be one of write, read, never"),
        ("prefix=a*b", "'prefix' must be plain text"),
        (f"db={CANARY}", "'db' must be a whole number from 0"),
        ("db=-1", "'db' must be a whole number from 0"),
        ("db=1.0", "'db' must be a whole number from 0"),
        ("db=%D9%A3", "'db' must be a whole number from 0"),
        ("protocol=4", "'protocol' must be a whole number from 2 to 3"),
        ("max_connections=0", "'max_connections' must be a whole number from 1 on"),
        (f"socket_timeout={CANARY}", "'socket_timeout' must be a duration"),
        ("socket_timeout=0", "'socket_timeout' must be a duration"),
        ("health_check_interval=none", "or 0 for never"),
        ("socket_keepalive=maybe", "'socket_keepalive' must be 1, true, yes or on, or"),
        ("client_name=my%20app", "'client_name' must be a name"),
    ],
)
def test_option_that_cannot_work(query: str, words: str, made: Recorder) -> None:
    """An unknown, doubled or ill-typed option is refused by its name, and its value not shown."""
    assert words in refusal(lambda: open_url(f"redis://user:{CANARY}@host?{query}"))
    assert not made.stores


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("memory://?max_bytes=1T", "'max_bytes' must be a positive whole number"),
        ("memory://?max_bytes=0", "'max_bytes' must be a positive whole number"),
        ("memory://?max_sessions=1.5", "'max_sessions' must be a whole number from 1"),
        ("file:s.db?synchronous=extra", "one of full, normal, off"),
        ("file:s.db?busy_timeout=none", "'busy_timeout' must be a duration"),
        ("file:s.db?mode=memory", "unknown option 'mode'"),
        ("unix:///s?socket_keepalive=1", "unknown option 'socket_keepalive'"),
        ("rediss://h?ssl_cert_reqs=maybe", "one of required, optional, none"),
    ],
)
def test_option_of_the_other_backends(url: str, words: str, made: Recorder) -> None:
    """Each backend has its own table of options."""
    assert words in refusal(lambda: open_url(url))
    assert not made.stores


@pytest.mark.parametrize(
    ("url", "arguments", "words"),
    [
        ("redis://h?socket_timeout=5", {"socket_timeout": 6}, "'socket_timeout' has one value"),
        ("redis://h/1", {"db": 2}, "option 'db'"),
        ("redis://h?db=1", {"db": 2}, "'db' has one value in the URL and another"),
        (f"redis://u:{CANARY}@h", {"password": "other"}, "'password' has one value in the URL"),
        ("redis://u:other@h", {"password": CANARY}, "'password' has one value in the URL"),
        (f"redis://u:{CANARY}@h", {"username": "other"}, "'username' has one value in the URL"),
        (f"redis://u:{CANARY}@h", {"credential_provider": object()}, "use one"),
        ("redis://h", {"pasword": CANARY}, "'pasword'; did you mean 'password'?"),
        ("redis://h", {"max_age": "1h"}, "'max_age': say it in the URL, or as ttl=TTLPolicy"),
        ("redis://h", {"ssl": True}, "rediss://"),
        ("redis://h", {"max_connections": True}, "'max_connections' must be a whole number"),
        ("redis://h", {"socket_timeout": True}, "'socket_timeout' must be a duration"),
        ("redis://h", {"socket_timeout": [CANARY]}, "'socket_timeout' must be a duration"),
        ("redis://h", {"client_name": b"x"}, "'client_name' must be a name"),
        ("rediss://h", {"ssl_ca_certs": 5}, "'ssl_ca_certs' must be a path"),
        ("memory://", {"max_sesions": 5}, "did you mean 'max_sessions'?"),
    ],
)
def test_argument_that_cannot_work(
    url: str, arguments: dict[str, object], words: str, made: Recorder
) -> None:
    """An argument is checked as the URL is, and must not contradict it."""
    assert words in refusal(lambda: open_url(url, **arguments))
    assert not made.stores


def test_url_that_is_no_text() -> None:
    """A path object is no URL; the error says how to write one."""
    assert "not PosixPath" in refusal(lambda: split_url(Path("/tmp/sessions.db")))  # noqa: S108 -- not used


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@host:6379/0?ttl=1h", "redis://user:***@host:6379/0"),
        ("redis://:secret@host", "redis://:***@host"),
        ("redis://user:p@ss:w0rd@host", "redis://user:***@host"),
        ("redis://secret@host", "redis://***@host"),
        ("redis://secret:@host", "redis://***@host"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://", "redis://"),
        ("REDISS://u:secret@[::1]:1/0", "rediss://u:***@[::1]:1/0"),
        ("unix://u:secret@/run/redis.sock?db=1", "unix://u:***@/run/redis.sock"),
        ("redis+cluster://u:secret@h1:1,h2:2/0", "redis+cluster://u:***@h1:1,h2:2/0"),
        ("file:s.db?ttl=1h", "file:s.db"),
        ("file:///srv/a@b.db", "file:///srv/a@b.db"),
        ("memory://?max_bytes=1", "memory://"),
        ("redis://u:sec/ret@host", "redis://***"),
        ("redis://u:sec?ret@host", "redis://***"),
        ("redis://u:sec#ret@host", "redis://***"),
        ("redis://:secret", "redis://***"),
        ("redis://:12345", "redis://***"),
        ("redis://u:p@host:secret", "redis://***"),
        ("file://u:sec/ret@host", "file://***"),
        ("u:secret@host", "***"),
        ("redis:u:secret@host", "***"),
        ("", "***"),
        (None, "***"),
    ],
)
def test_redact(url: object, shown: str) -> None:
    """What is shown has no options and no password, and is nothing where that is unsure."""
    assert redact(url) == shown


@given(password=TEXT)
def test_encoded_password_arrives(password: str) -> None:
    """Any password, percent-encoded, is the one that redis-py gets, and is never shown."""
    url = f"redis://user:{quote(password, safe='')}@host:1/2"
    with recorded() as made:
        open_url(url)
    assert parse_url(made.last.at)["password"] == password
    assert redact(url) == "redis://user:***@host:1/2"
    assert "url='redis://user:***@host:1/2'" in repr(Settings(url=url))


@given(password=UNENCODED)
def test_unencoded_password_arrives(password: str) -> None:
    """A password as it is arrives too, unless it holds what ends a host: '/', '?' or '#'."""
    with recorded() as made:
        open_url(f"redis://user:{password}@host:1/2")
    assert parse_url(made.last.at)["password"] == password
    assert redact(f"redis://user:{password}@host:1/2") == "redis://user:***@host:1/2"


@given(
    scheme=st.sampled_from(["redis", "rediss", "unix", "valkey", "file", "memory", "redsi", "x"]),
    before=st.text(),
    after=st.text(),
    rest=st.text(),
    user=st.sampled_from(["", "user", "user:a"]),
)
def test_no_error_shows_a_password(
    scheme: str, before: str, after: str, rest: str, user: str
) -> None:
    """However a URL is mangled, neither an error nor what is shown of it holds its password."""
    url = f"{scheme}://{user}:{before}{CANARY}{after}@host{rest}"
    assert CANARY not in redact(url)
    try:
        with recorded():
            open_url(url)
    except ConfigurationError as error:
        assert_no_canary(error)


def test_what_uses_a_store_is_printed_with_it() -> None:
    """Without the password."""
    with open_store("redis://u:secret@localhost:1/0", dotenv=False) as store:
        for made in (Sessions(store), Sessions(store).aio, SessionSaver(store)):
            assert repr(made) == f"{type(made).__name__}({store!r})"
            assert "localhost:1" in repr(made)
            assert "secret" not in repr(made)
