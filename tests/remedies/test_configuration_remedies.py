"""What the errors about URLs, variables and options propose, done to the letter."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from redis import UsernamePasswordCredentialProvider

from remedies.proposals import tries
from wren_sessions import MemoryStore, Sessions, Settings, TTLPolicy, open_store
from wren_sessions.errors import ConfigurationError

VARIABLES: Final = (
    "WREN_SESSIONS_URL",
    "WREN_SESSIONS_REQUIRE_PERSISTENT",
    "WREN_SESSIONS_TELEMETRY",
    "REDIS_URL",
    "REDIS_HOST",
    "REDIS_PORT",
    "REDIS_PASSWORD",
    "REDIS_DB",
)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Nothing is configured."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def refusal(url: Any = None, **options: Any) -> str:
    """What is said of a store that cannot be opened."""
    with pytest.raises(ConfigurationError) as caught:
        open_store(url, **options).close()
    return str(caught.value)


def location(url: Any = None, **options: Any) -> str:
    """Where a store is that can be opened."""
    with open_store(url, **options) as store:
        return store.location


# --- which store ----------------------------------------------------------------------------------


@tries(
    "end with this process; set %s, REDIS_URL or REDIS_HOST, or pass a URL",
    "but a persistent store is required: set {}, REDIS_URL or REDIS_HOST, or pass the URL of",
)
def test_nothing_is_configured(
    environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of the variables, a URL of either kind, and the two ways to allow it."""
    location()
    assert "set WREN_SESSIONS_URL, REDIS_URL or REDIS_HOST, or pass a URL" in caplog.text
    required: Any = {"require_persistent": True}
    assert "set WREN_SESSIONS_URL, REDIS_URL or REDIS_HOST, or pass the" in refusal(**required)
    for name, value in (
        ("WREN_SESSIONS_URL", "file:s.db"),
        ("REDIS_URL", "redis://127.0.0.1:6379/0"),
        ("REDIS_HOST", "127.0.0.1"),
    ):
        with environment.context() as context:
            context.setenv(name, value)
            caplog.clear()
            assert location(**required).startswith(("file:", "redis:"))
            assert "no store is configured" not in caplog.text
    for url in ("file:s.db", "redis://127.0.0.1:6379/0"):
        assert location(url, **required).startswith(url[:5])
    environment.setenv("WREN_SESSIONS_REQUIRE_PERSISTENT", "1")
    assert "require_persistent=False, WREN_SESSIONS_REQUIRE_PERSISTENT=0" in refusal()
    assert location(require_persistent=False) == "memory://"
    environment.setenv("WREN_SESSIONS_REQUIRE_PERSISTENT", "0")
    assert location() == "memory://"


@tries("is not; set it too, or unset the rest, or name the store with {}")
def test_half_a_configuration(environment: pytest.MonkeyPatch) -> None:
    """Each of the three."""
    environment.setenv("REDIS_PORT", "6380")
    assert "set it too, or unset the rest, or name the store with WREN_SESSIONS_URL" in refusal()
    with environment.context() as context:
        context.setenv("REDIS_HOST", "127.0.0.1")
        assert location() == "redis://127.0.0.1:6380/0"
    with environment.context() as context:
        context.setenv("WREN_SESSIONS_URL", "file:s.db")
        assert location().startswith("file:")
    environment.delenv("REDIS_PORT")
    assert location() == "memory://"


@tries("Keep one of the two ways to name the Redis server, or set {}, which wins over both")
def test_two_configurations(environment: pytest.MonkeyPatch) -> None:
    """Either of them alone, or the third."""
    url, host = "redis://127.0.0.1:6379/0", "127.0.0.2"
    environment.setenv("REDIS_URL", url)
    environment.setenv("REDIS_HOST", host)
    assert "Keep one of the two ways" in refusal()
    for one in ("REDIS_URL", "REDIS_HOST"):
        with environment.context() as context:
            context.delenv(one)
            assert location().startswith("redis://")
    environment.setenv("WREN_SESSIONS_URL", "file:s.db")
    assert location().startswith("file:")


# --- URLs -----------------------------------------------------------------------------------------


@tries(
    "a file URL has no host: write file:relative.db, or file:///absolute.db with three slashes",
    "the {} URL has a '#' in it; write it as %23",
)
def test_urls(tmp_path: Path) -> None:
    """As they are to be written."""
    assert "write file:relative.db, or file:///absolute.db" in refusal("file://host/s.db")
    for url in ("file:relative.db", f"file://{tmp_path}/absolute.db"):
        with open_store(url) as store:
            Sessions(store).save("s", {"n": 1})
    assert (tmp_path / "relative.db").exists()
    assert (tmp_path / "absolute.db").exists()
    assert "write it as %23" in refusal("file:a#b.db")
    with open_store("file:a%23b.db") as store:
        Sessions(store).save("s", {"n": 1})
    assert (tmp_path / "a#b.db").exists()
    assert "'#' as %23" in refusal("redis://:a#b@127.0.0.1:6379/0")
    assert location("redis://:a%23b@127.0.0.1:6379/0") == "redis://127.0.0.1:6379/0"


@tries(
    "the option {} has one value in the URL and another {}: give it once",
    "the path of the URL names one database and the option 'db' another: give it once",
    "the URL has a user name or password, and credential_provider is given too: use one",
    "say it in the URL, or as ttl=TTLPolicy(idle=…, max_age=…, refresh=…)",
)
def test_options() -> None:
    """Once is enough, wherever it is."""
    week = TTLPolicy(idle="7d")
    assert "give it once" in refusal("memory://?ttl=1d", ttl=week)
    cases: Any = (("memory://?ttl=7d", {}), ("memory://", {"ttl": week}))
    for url, options in cases:
        with open_store(url, **options) as store:
            assert store.ttl.idle_ms == week.idle_ms
    assert "give it once" in refusal("redis://127.0.0.1:6379/1?db=2")
    for url in ("redis://127.0.0.1:6379/1", "redis://127.0.0.1:6379?db=1"):
        assert location(url) == "redis://127.0.0.1:6379/1"
    provider = UsernamePasswordCredentialProvider("me", "secret")
    with_login = "redis://me:secret@127.0.0.1:6379/0"
    assert "use one" in refusal(with_login, credential_provider=provider)
    location(with_login)
    location("redis://127.0.0.1:6379/0", credential_provider=provider)
    wrong: Any
    for wrong in ({"max_age": "7d"}, {"refresh": "read"}):
        assert "say it in the URL, or as ttl=TTLPolicy(" in refusal("memory://", **wrong)
    policy = TTLPolicy(idle="1d", max_age="7d", refresh="read")
    cases = (("memory://?ttl=1d&max_age=7d&refresh=read", {}), ("memory://", {"ttl": policy}))
    for url, options in cases:
        with open_store(url, **options) as store:
            assert store.ttl == policy
    assert Settings.from_env(dotenv=False).source


@tries(
    "write '24h', '1h30m', '250ms' (units: ms, s, m, h, d, w), or a number of seconds",
    "; pass None for no limit",
    "; pass TTLPolicy(idle=None) for no limit",
)
def test_durations() -> None:
    """Each of the forms."""
    with pytest.raises(ConfigurationError, match=r"write '24h', '1h30m', '250ms' .*a number of"):
        TTLPolicy(idle="tomorrow")
    idle: Any
    for idle, found_ms in (
        ("24h", 86_400_000),
        ("1h30m", 5_400_000),
        ("250ms", 250),
        (5, 5_000),
        (1.5, 1_500),
        (timedelta(minutes=1), 60_000),
        ("2ms", 2),
        ("2s", 2_000),
        ("2m", 120_000),
        ("2d", 172_800_000),
        ("2w", 1_209_600_000),
    ):
        assert TTLPolicy(idle=idle).idle_ms == found_ms
    wrong: Any
    for wrong in (0, "1000000d"):
        with pytest.raises(ConfigurationError, match="pass None for no limit"):
            TTLPolicy(idle=wrong)
        with pytest.raises(ConfigurationError, match=r"pass TTLPolicy\(idle=None\) for no limit"):
            MemoryStore(ttl=wrong)
    store = MemoryStore(ttl=TTLPolicy(idle=None))
    Sessions(store).save("s", {"n": 1})
    info = store.info("s")
    assert info
    assert info.life.deadline_ms is None
