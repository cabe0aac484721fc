"""Environment variables and ``.env``: which store they name, and which mixtures are refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.connection import parse_url

from recording import CANARY, VARIABLES, empty_environment, recorded, refusal
from wren_sessions.config import Settings
from wren_sessions.config.environment import REDIS_PARTS
from wren_sessions.ttl import TTLPolicy

GUIDE = f"""\
REDIS_HOST=your-redis-instance.redis-cloud.com
REDIS_PORT=17887
REDIS_PASSWORD={CANARY}
"""


@pytest.fixture(autouse=True)
def environment(tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """An environment without variables of ours, in a folder without a ``.env``."""
    with empty_environment(tmp_path) as patch:
        yield patch


def read(**variables: str) -> Settings:
    """The settings from these variables alone."""
    return Settings.from_env(variables, dotenv=False)


@pytest.mark.parametrize(
    ("variables", "url", "source"),
    [
        ({}, "memory://", "nothing"),
        ({"WREN_SESSIONS_URL": "file:s.db"}, "file:s.db", "WREN_SESSIONS_URL"),
        ({"WREN_SESSIONS_URL": " file:s.db\n"}, "file:s.db", "WREN_SESSIONS_URL"),
        (
            {"WREN_SESSIONS_URL": "memory://", "REDIS_URL": "redis://a", "REDIS_HOST": "b"},
            "memory://",
            "WREN_SESSIONS_URL",
        ),
        ({"REDIS_URL": "rediss://u:p@h/1"}, "rediss://u:p@h/1", "REDIS_URL"),
        ({"REDIS_URL": "valkey://h"}, "valkey://h", "REDIS_URL"),
        ({"REDIS_URL": "unix:///run/redis.sock"}, "unix:///run/redis.sock", "REDIS_URL"),
        ({"REDIS_URL": "redis://h", "REDIS_PORT": ""}, "redis://h", "REDIS_URL"),
        ({"REDIS_HOST": "h"}, "redis://h:6379/0", "REDIS_HOST"),
        ({"REDIS_HOST": "h", "REDIS_PORT": "1"}, "redis://h:1/0", "REDIS_HOST"),
        ({"REDIS_HOST": "h", "REDIS_DB": "7"}, "redis://h:6379/7", "REDIS_HOST"),
        ({"REDIS_HOST": "h", "REDIS_SSL": "True"}, "rediss://h:6379/0", "REDIS_HOST"),
        ({"REDIS_HOST": "h", "REDIS_SSL": "off"}, "redis://h:6379/0", "REDIS_HOST"),
        ({"REDIS_HOST": "h", "REDIS_USERNAME": "u:1"}, "redis://u%3A1@h:6379/0", "REDIS_HOST"),
        ({"REDIS_HOST": "h", "REDIS_PASSWORD": "p"}, "redis://default:p@h:6379/0", "REDIS_HOST"),
        (
            {"REDIS_HOST": "h", "REDIS_PASSWORD": " p@/", "REDIS_USERNAME": "u"},
            "redis://u:%20p%40%2F@h:6379/0",
            "REDIS_HOST",
        ),
        ({"REDIS_HOST": "::1"}, "redis://[::1]:6379/0", "REDIS_HOST"),
        ({"REDIS_HOST": "[::1]"}, "redis://[::1]:6379/0", "REDIS_HOST"),
        (
            {"REDIS_HOST": "redis", "REDIS_PORT": "tcp://10.0.0.1:9"},
            "redis://redis:6379/0",
            "REDIS_HOST",
        ),
        ({"REDIS_PORT": "tcp://10.0.0.1:6379"}, "memory://", "nothing"),
    ],
)
def test_variables_name_a_store(variables: dict[str, str], url: str, source: str) -> None:
    """The first of the three ways to name a store decides, and the settings say which it was."""
    settings = read(**variables)
    assert (settings.url, settings.source) == (url, source)


def test_empty_variables_are_not_set() -> None:
    """Variables that are empty or blank count as not set."""
    assert read(**dict.fromkeys(VARIABLES, "")) == Settings(source="nothing")
    assert read(**dict.fromkeys(VARIABLES, " \n")) == Settings(source="nothing")


def test_lifetime_and_prefix() -> None:
    """Lifetime and prefix have variables of their own."""
    settings = read(WREN_SESSIONS_TTL="2h", WREN_SESSIONS_MAX_AGE="30d", WREN_SESSIONS_PREFIX="app")
    assert (settings.ttl, settings.prefix) == (TTLPolicy(idle="2h", max_age="30d"), "app")


@pytest.mark.parametrize(
    ("variables", "ttl"),
    [
        ({"WREN_SESSIONS_TTL": "none"}, TTLPolicy(idle=None)),
        ({"WREN_SESSIONS_MAX_AGE": "2d"}, TTLPolicy(idle="24h", max_age="2d")),
        (
            {"WREN_SESSIONS_MAX_AGE": "2d", "WREN_SESSIONS_URL": "file:s.db"},
            TTLPolicy(idle=None, max_age="2d"),
        ),
        (
            {"WREN_SESSIONS_TTL": "1h", "WREN_SESSIONS_URL": "file:s.db?max_age=1d&refresh=read"},
            TTLPolicy(idle="1h", max_age="1d", refresh="read"),
        ),
        ({"WREN_SESSIONS_URL": "redis://h?ttl=1h"}, None),
    ],
)
def test_lifetime_is_completed(variables: dict[str, str], ttl: TTLPolicy | None) -> None:
    """What the variables do not say of a lifetime, the URL says, and else the backend."""
    assert read(**variables).ttl == ttl


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"REDIS_PORT": "1"}, ["REDIS_PORT: set, but REDIS_HOST is not"]),
        ({"REDIS_PASSWORD": CANARY}, ["REDIS_PASSWORD: set, but REDIS_HOST is not"]),
        ({"REDIS_USERNAME": "u"}, ["REDIS_USERNAME: set, but REDIS_HOST is not"]),
        ({"REDIS_DB": "0"}, ["REDIS_DB: set, but REDIS_HOST is not"]),
        ({"REDIS_SSL": "0"}, ["REDIS_SSL: set, but REDIS_HOST is not"]),
        (
            {"REDIS_PORT": "1", "REDIS_PASSWORD": CANARY},
            ["REDIS_PORT, REDIS_PASSWORD: set, but REDIS_HOST is not"],
        ),
        (
            {"REDIS_URL": f"redis://:{CANARY}@h", "REDIS_HOST": "h"},
            ["REDIS_URL is set, and so is: REDIS_HOST.", "WREN_SESSIONS_URL"],
        ),
        (
            {"REDIS_URL": "redis://h", "REDIS_PASSWORD": CANARY},
            ["REDIS_URL is set, and so is: REDIS_PASSWORD."],
        ),
        ({"REDIS_URL": f"file:{CANARY}"}, ["REDIS_URL must be the URL of a Redis server"]),
        ({"REDIS_URL": CANARY}, ["REDIS_URL must be the URL of a Redis server"]),
        ({"REDIS_HOST": f"redis://:{CANARY}@h"}, ["REDIS_HOST must be a host", "REDIS_URL"]),
        ({"REDIS_HOST": "h:6379"}, ["REDIS_HOST must be a host", "REDIS_PORT"]),
        ({"REDIS_HOST": "/run/redis.sock"}, ["REDIS_HOST must be a host", "unix:///"]),
        ({"REDIS_HOST": "h", "REDIS_PORT": CANARY}, ["REDIS_PORT must be a whole number"]),
        ({"REDIS_HOST": "h", "REDIS_PORT": "0"}, ["REDIS_PORT must be", "from 1 to 65535"]),
        ({"REDIS_HOST": "h", "REDIS_DB": CANARY}, ["REDIS_DB must be a whole number"]),
        ({"REDIS_HOST": "h", "REDIS_SSL": CANARY}, ["REDIS_SSL must be 1, true, yes or on"]),
        ({"REDIS_HOST": "h", "REDIS_SSL": "2"}, ["REDIS_SSL must be 1, true, yes or on"]),
        ({"REDIS_HOST": "h", "REDIS_PASSWORD": f"{CANARY}\udcff"}, ["REDIS_PASSWORD is not UTF-8"]),
        ({"WREN_SESSIONS_TTL": CANARY}, ["WREN_SESSIONS_TTL must be a duration"]),
        ({"WREN_SESSIONS_MAX_AGE": "0"}, ["WREN_SESSIONS_MAX_AGE must be a duration"]),
        ({"WREN_SESSIONS_PREFIX": "a*"}, ["WREN_SESSIONS_PREFIX must be plain text"]),
        ({"WREN_SESSIONS_REQUIRE_PERSISTENT": "ja"}, ["WREN_SESSIONS_REQUIRE_PERSISTENT must be"]),
        (
            {"WREN_SESSIONS_ENCRYPTION_KEYS": CANARY},
            ["begins with its id", "WREN_SESSIONS_ENCRYPTION_KEYS"],
        ),
        (
            {"WREN_SESSIONS_TTL": "1h", "WREN_SESSIONS_URL": f"redsi://:{CANARY}@h"},
            ["WREN_SESSIONS_URL: no store is known for the URL scheme 'redsi'"],
        ),
    ],
)
def test_variables_that_cannot_work(variables: dict[str, str], words: list[str]) -> None:
    """Half a configuration, a contradiction and garbage are errors that name the variables."""
    message = refusal(lambda: read(**variables))
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"redis://:{CANARY}@h:bad", "the port of the redis URL"),
        (f"redis://:{CANARY}/1@h", "the redis URL has an '@' behind its host"),
        (f"redis://:{CANARY}@h?zzz=1", "unknown option 'zzz'"),
    ],
)
def test_variable_is_blamed_for_its_url(url: str, words: str) -> None:
    """An error in a URL from a variable names the variable."""
    settings = read(WREN_SESSIONS_URL=url)
    assert f"WREN_SESSIONS_URL: {words}" in refusal(settings.open)
    settings = read(REDIS_URL=url)
    assert f"REDIS_URL: {words}" in refusal(settings.open)


@pytest.mark.parametrize(
    ("variables", "url", "source"),
    [
        ({}, "memory://", "use_redis=False"),
        ({"REDIS_HOST": "h"}, "memory://", "use_redis=False"),
        ({"REDIS_PORT": "garbage"}, "memory://", "use_redis=False"),
        ({"REDIS_URL": "redis://h", "REDIS_HOST": "h"}, "memory://", "use_redis=False"),
        ({"WREN_SESSIONS_URL": "valkey://h"}, "memory://", "use_redis=False"),
        ({"WREN_SESSIONS_URL": "redis+cluster://h"}, "memory://", "use_redis=False"),
        ({"WREN_SESSIONS_URL": "file:s.db"}, "file:s.db", "WREN_SESSIONS_URL"),
    ],
)
def test_without_redis(variables: dict[str, str], url: str, source: str) -> None:
    """With use_redis=False no variable leads to Redis, and another store in the URL still holds."""
    settings = Settings.from_env(variables, dotenv=False, use_redis=False)
    assert (settings.url, settings.source) == (url, source)


@given(password=st.text(st.characters(exclude_categories=["Cs"])).filter(str.strip))
def test_password_arrives(password: str) -> None:
    """Any REDIS_PASSWORD is the one that redis-py gets, and the settings do not show it."""
    settings = read(REDIS_HOST="h", REDIS_PASSWORD=password)
    with recorded() as made:
        settings.open()
    assert parse_url(made.last.at)["password"] == password
    assert repr(settings) == repr(read(REDIS_HOST="h", REDIS_PASSWORD="x"))


# --- .env -----------------------------------------------------------------------------------------


def test_env_file_of_the_guide() -> None:
    """The ``.env`` of the WREN guide works as it is, with the user name ``default``."""
    Path(".env").write_text(GUIDE)
    settings = Settings.from_env()
    host = "your-redis-instance.redis-cloud.com:17887/0"
    assert settings.url == f"redis://default:{CANARY}@{host}"
    assert str(settings) == (
        f"Settings(url='redis://default:***@{host}', ttl=None, prefix=None, "
        "require_persistent=False, source='REDIS_HOST', encryption=None, compression=None, "
        "telemetry=False, owner_keys=None)"
    )


def test_process_wins_over_file(environment: pytest.MonkeyPatch) -> None:
    """A variable of the process wins over the file's; an empty one does not."""
    Path(".env").write_text("REDIS_HOST=file\nREDIS_PORT=1\nREDIS_DB=1\n")
    environment.setenv("REDIS_PORT", "2")
    environment.setenv("REDIS_DB", "")
    assert Settings.from_env().url == "redis://file:2/1"


def test_a_misspelt_variable_is_named_in_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """With the variable that was meant, from the process and the file, and without its value."""
    Path(".env").write_text(f"WREN_SESSIONS_ENCRYPTION_KEY=k1:{CANARY}\n")
    variables = {
        "WREN_SESSION_URL": f"redis://:{CANARY}@h",
        "WREN_SESSIONS_TLL": "1h",
        "WREN_SESSIONS_PREFIX": "app",
        "WREN_SESSIONS_SERVICE_HOST": "10.0.0.1",
        "WREN_SESSIONS_PORT": "tcp://10.0.0.1:80",
        "WREN_SESSIONS_PORT_80_TCP": "tcp://10.0.0.1:80",
        "WREN_SESSION_EMPTY": "",
    }
    settings = Settings.from_env(variables)
    assert settings.source == "nothing"
    assert caplog.messages == [
        f"{wrong} is not a variable of this package; did you mean {meant!r}?"
        for wrong, meant in (
            ("WREN_SESSIONS_ENCRYPTION_KEY", "WREN_SESSIONS_ENCRYPTION_KEYS"),
            ("WREN_SESSIONS_TLL", "WREN_SESSIONS_TTL"),
            ("WREN_SESSION_URL", "WREN_SESSIONS_URL"),
        )
    ]


def test_environment_is_not_changed() -> None:
    """Reading a file leaves the variables of the process alone."""
    Path(".env").write_text(GUIDE)
    before = dict(os.environ)
    Settings.from_env()
    assert dict(os.environ) == before


def test_file_can_be_turned_off() -> None:
    """With dotenv=False, the file in the working directory is not read."""
    Path(".env").write_text(GUIDE)
    assert Settings.from_env(dotenv=False).source == "nothing"


def test_folders_above_are_not_searched(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    """Only the working directory counts, not the folders above it."""
    (tmp_path / ".env").write_text(GUIDE)
    (tmp_path / "deeper").mkdir()
    environment.chdir(tmp_path / "deeper")
    assert Settings.from_env().source == "nothing"


def test_file_by_its_path(tmp_path: Path) -> None:
    """With a path, exactly that file is read, and the usual one is not."""
    Path(".env").write_text(GUIDE)
    other = tmp_path / "other.env"
    other.write_text("export REDIS_HOST='h'  # comment\n")
    assert Settings.from_env(dotenv=other).url == "redis://h:6379/0"
    assert Settings.from_env(dotenv=str(other)).url == "redis://h:6379/0"


def test_quoted_password_in_a_file() -> None:
    """A password with special characters can be quoted in the file."""
    Path(".env").write_text("REDIS_HOST=h\nREDIS_PASSWORD='a#b $c \"d'\n")
    login = Settings.from_env().url.removeprefix("redis://default:").partition("@")[0]
    assert unquote(login) == 'a#b $c "d'


def test_file_that_is_not_there(tmp_path: Path) -> None:
    """A file that is named must be there; a folder is no file."""
    missing = tmp_path / "missing.env"
    assert "missing.env" in refusal(lambda: Settings.from_env(dotenv=missing))
    assert "no such file" in refusal(lambda: Settings.from_env(dotenv=tmp_path))
    Path(".env").mkdir()
    assert Settings.from_env().source == "nothing"


def test_file_that_is_no_text() -> None:
    """A file that is not UTF-8 text is refused without showing what is in it."""
    Path(".env").write_bytes(f"REDIS_PASSWORD={CANARY}\xff".encode("latin-1"))
    assert "not UTF-8 text" in refusal(Settings.from_env)


def test_file_that_may_not_be_read(environment: pytest.MonkeyPatch) -> None:
    """A file that cannot be opened is an error, not an empty configuration."""

    def deny(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    Path(".env").write_text(GUIDE)
    environment.setattr("dotenv.dotenv_values", deny)
    assert ".env cannot be read: Permission denied" in refusal(Settings.from_env)


def test_error_says_which_variable_is_in_the_file(environment: pytest.MonkeyPatch) -> None:
    """An error tells the variables of the file from those of the process."""
    Path(".env").write_text(GUIDE)
    environment.setenv("REDIS_URL", "redis://h")
    message = refusal(Settings.from_env)
    assert "REDIS_URL is set, and so is: REDIS_HOST (in .env), REDIS_PORT (in .env)" in message
    assert CANARY not in message


def test_line_that_cannot_be_read_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be parsed in the file is not logged."""
    Path(".env").write_text(f"REDIS_HOST=h\n'REDIS_PASSWORD = {CANARY}\n")
    assert Settings.from_env().url == "redis://h:6379/0"
    assert CANARY not in caplog.text


def test_every_part_is_listed() -> None:
    """The names that tests clear are the ones that the code reads."""
    assert set(REDIS_PARTS) < set(VARIABLES)
