"""Environment variables and ``.env``: which store they name.

A variable of the process takes precedence over one in the file. An empty one counts as not set, in
both. The process's environment is only read. Errors name variables, never their values.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from wren_sessions._options import FLAG, Kind, whole_number
from wren_sessions.config.options import near
from wren_sessions.config.redis_urls import MAX_PORT, is_host
from wren_sessions.config.schemes import is_redis
from wren_sessions.errors import ConfigurationError

logger: Final = logging.getLogger("wren_sessions")

WREN_URL: Final = "WREN_SESSIONS_URL"
WREN_TTL: Final = "WREN_SESSIONS_TTL"
WREN_MAX_AGE: Final = "WREN_SESSIONS_MAX_AGE"
WREN_PREFIX: Final = "WREN_SESSIONS_PREFIX"
WREN_ENCRYPTION_KEYS: Final = "WREN_SESSIONS_ENCRYPTION_KEYS"
WREN_OWNER_KEYS: Final = "WREN_SESSIONS_OWNER_KEYS"
WREN_OWNER_SECRET: Final = "WREN_SESSIONS_OWNER_SECRET"  # noqa: S105 -- the name of a variable
WREN_REQUIRE_PERSISTENT: Final = "WREN_SESSIONS_REQUIRE_PERSISTENT"
WREN_TELEMETRY: Final = "WREN_SESSIONS_TELEMETRY"
REDIS_URL: Final = "REDIS_URL"
REDIS_HOST: Final = "REDIS_HOST"
REDIS_PARTS: Final = (
    REDIS_HOST,
    "REDIS_PORT",
    "REDIS_USERNAME",
    "REDIS_PASSWORD",
    "REDIS_DB",
    "REDIS_SSL",
)

_WREN: Final = frozenset(
    {WREN_URL, WREN_TTL, WREN_MAX_AGE, WREN_PREFIX, WREN_ENCRYPTION_KEYS}
    | {WREN_OWNER_KEYS, WREN_OWNER_SECRET, WREN_REQUIRE_PERSISTENT, WREN_TELEMETRY}
)
# … but for what Kubernetes sets for a service that is called wren-sessions
_LIKE_WREN: Final = re.compile(r"WREN_SESSION(?!\w*(?:_SERVICE_HOST$|_PORT$|_PORT_))\w*")
_DOTENV: Final = Path(".env")
_KUBERNETES: Final = "tcp://"
_PORT: Final = whole_number(1, MAX_PORT)
_NUMBER: Final = whole_number(0)


@dataclass(frozen=True, slots=True, repr=False)
class Variables:
    """The variables of the process and of a file together.

    Attributes:
        process: those of the process.
        file: those of the file.
        file_name: what to call the file.
    """

    process: Mapping[str, str]
    file: Mapping[str, str | None] = field(default_factory=dict)
    file_name: str = str(_DOTENV)

    def get(self, name: str) -> str | None:
        """A variable's value, or None if it is not set, empty or blank."""
        for source in (self.process, self.file):
            value = source.get(name) or ""
            if name == "REDIS_PORT" and value.startswith(_KUBERNETES):
                continue  # Kubernetes sets this for every service that is called redis
            if value.strip():
                return value if name == "REDIS_PASSWORD" else value.strip()
        return None

    def label(self, name: str) -> str:
        """The variable's name, and the file if it is set there."""
        here = Variables(self.process).get(name)
        return name if here is not None else f"{name} (in {self.file_name})"

    def read(self, name: str, kind: Kind) -> object:
        """A variable's value as that kind of thing, or None.

        Raises:
            ConfigurationError: it is none; the message names the variable.
        """
        value = self.get(name)
        return None if value is None else kind.convert(self.label(name), value)


def read_variables(environ: Mapping[str, str] | None, *, dotenv: bool | str | Path) -> Variables:
    """The variables as they are now. A misspelt one is named in a warning.

    Args:
        environ: those of the process; None for `os.environ`.
        dotenv: True for ``.env`` in the working directory, if there is one; False for no file; or
            the path of a file that must be there.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    if not isinstance(dotenv, bool | str | Path):
        raise ConfigurationError(
            "dotenv must be True, False or the path of a file, not a " + type(dotenv).__name__
        )
    process = os.environ if environ is None else environ
    path = _DOTENV if isinstance(dotenv, bool) else Path(dotenv)
    if dotenv is False or (dotenv is True and not path.is_file()):
        variables = Variables(process)
    else:
        variables = Variables(process, _read_file(path), str(path))
    for name in sorted({*variables.process, *variables.file} - _WREN):
        if _LIKE_WREN.fullmatch(name) and variables.get(name) is not None:
            logger.warning("%s is not a variable of this package%s", name, near(name, _WREN))
    return variables


def _read_file(path: Path) -> dict[str, str | None]:
    from dotenv import dotenv_values

    fault = "there is no such file"
    if path.is_file():
        try:
            return dotenv_values(path)
        except OSError as error:
            fault = str(error.strerror)
        except UnicodeDecodeError:  # its arguments hold the whole file
            fault = "it is not UTF-8 text"
    raise ConfigurationError(f"the environment file {path} cannot be read: {fault}")


def find_url(variables: Variables, *, use_redis: bool) -> tuple[str, str] | None:
    """Which store the variables name; without `use_redis`, every Redis server is overlooked.

    Returns:
        Its URL and the variable that decided, or None if they name none.

    Raises:
        ConfigurationError: they contradict each other, or are half of a configuration.
    """
    url = variables.get(WREN_URL)
    if url is not None and (use_redis or not is_redis(url)):
        return url, WREN_URL
    return _find_redis(variables) if use_redis else None


def _find_redis(variables: Variables) -> tuple[str, str] | None:
    url = variables.get(REDIS_URL)
    parts = [name for name in REDIS_PARTS if variables.get(name) is not None]
    labels = ", ".join(map(variables.label, parts))
    if url is not None:
        _check_alone(url, variables.label(REDIS_URL), labels)
        return url, REDIS_URL
    if not parts:
        return None
    if REDIS_HOST not in parts:
        raise ConfigurationError(
            f"{labels}: set, but {REDIS_HOST} is not; set it too, or unset the rest, or name the "
            f"store with {WREN_URL}"
        )
    scheme = "rediss" if variables.read("REDIS_SSL", FLAG) else "redis"
    port = variables.read("REDIS_PORT", _PORT) or 6379
    database = variables.read("REDIS_DB", _NUMBER) or 0
    url = f"{scheme}://{_login(variables)}{_host(variables)}:{port}/{database}"
    return url, REDIS_HOST


def _check_alone(url: str, label: str, others: str) -> None:
    if others:
        raise ConfigurationError(
            f"{label} is set, and so is: {others}. Keep one of the two ways to name the Redis "
            f"server, or set {WREN_URL}, which wins over both"
        )
    if not is_redis(url):
        raise ConfigurationError(
            f"{label} must be the URL of a Redis server, such as redis://host:6379/0; other stores "
            f"go into {WREN_URL}"
        )


def _host(variables: Variables) -> str:
    host = variables.get(REDIS_HOST) or ""
    bare = host.removeprefix("[").removesuffix("]")
    if not is_host(bare):
        raise ConfigurationError(
            f"{variables.label(REDIS_HOST)} must be a host and nothing else: the port goes into "
            f"REDIS_PORT, and a URL or the path of a socket (unix:///…) into {REDIS_URL}"
        )
    return f"[{bare}]" if ":" in bare else bare


def _login(variables: Variables) -> str:
    user, password = variables.get("REDIS_USERNAME"), variables.get("REDIS_PASSWORD")
    if user is None and password is None:
        return ""
    encoded_user = _encoded(variables, "REDIS_USERNAME", user or "default")
    if password is None:
        return f"{encoded_user}@"
    return f"{encoded_user}:{_encoded(variables, 'REDIS_PASSWORD', password)}@"


def _encoded(variables: Variables, name: str, text: str) -> str:
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        pass
    raise ConfigurationError(f"{variables.label(name)} is not UTF-8 text")
