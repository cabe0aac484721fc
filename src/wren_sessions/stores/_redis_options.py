"""What may be said of connections to Redis, in a URL and by keyword, and how it is read.

`open_store` takes these alone. `RedisStore.from_url` reads them in the same way, and passes others
on to redis-py as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from wren_sessions._arguments import check_kind
from wren_sessions._options import (
    FLAG,
    INTERVAL,
    NAME,
    PATH,
    TIMEOUT,
    Kind,
    convert_all,
    one_of,
    split_query,
    whole_number,
)

_CHECKS: Final = one_of("required", "optional", "none")


def _read_check(value: object) -> object:
    mode = getattr(value, "name", None)  # of `ssl.CERT_NONE` and the others, which redis-py takes
    return _CHECKS.read(value if mode is None else str(mode).removeprefix("CERT_").lower())


SOCKET: Final[Mapping[str, Kind]] = {
    "db": whole_number(0),
    "socket_timeout": TIMEOUT,
    "socket_connect_timeout": TIMEOUT,
    "max_connections": whole_number(1),
    "health_check_interval": INTERVAL,
    "client_name": NAME,
    "protocol": whole_number(2, 3),
    "retries": whole_number(0),
}
TCP: Final[Mapping[str, Kind]] = {**SOCKET, "socket_keepalive": FLAG}
NODE: Final[Mapping[str, Kind]] = {
    **{name: kind for name, kind in TCP.items() if name not in {"db", "retries"}},
    "failover_timeout": INTERVAL,
}
TLS: Final[Mapping[str, Kind]] = {
    "ssl_ca_certs": PATH,
    "ssl_ca_path": PATH,
    "ssl_certfile": PATH,
    "ssl_keyfile": PATH,
    "ssl_cert_reqs": Kind(_CHECKS.meaning, _read_check),
    "ssl_check_hostname": FLAG,
}
_ALL: Final = {**TCP, **NODE, **TLS}


def _read_secret(value: object) -> object:
    if not isinstance(value, str | bytes | int) or isinstance(value, bool):
        raise ValueError  # noqa: TRY004 -- `Kind.convert` makes it a ConfigurationError
    return value


def _read_provider(value: object) -> object:
    if not hasattr(value, "get_credentials"):
        raise ValueError
    return value


_SECRET: Final = Kind("text", _read_secret)
_KEYWORDS: Final = {
    **_ALL,
    **dict.fromkeys(("username", "password", "ssl_password"), _SECRET),
    **dict.fromkeys(("sentinel_username", "sentinel_password"), _SECRET),
    "credential_provider": Kind("an object that has get_credentials()", _read_provider),
}


def read_options(
    url: str, options: Mapping[str, Any]
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The options of a URL and those given by keyword, as redis-py takes them.

    Returns:
        The URL with the options that only redis-py knows; the others of the URL; and the keywords.

    Raises:
        ConfigurationError: a value is not what its option takes.
    """
    check_kind(url, str, "url", "redis://localhost:6379/0, for example")
    rest, _, query = url.partition("?")
    in_url, left = split_query(query, _ALL)
    known = {name: value for name, value in options.items() if name in _KEYWORDS}
    others = {name: value for name, value in options.items() if name not in _KEYWORDS}
    url = f"{rest}{'?' * bool(left)}{left}"
    return url, convert_all(in_url, _ALL), {**others, **convert_all(known, _KEYWORDS)}
