"""URLs of Redis and Valkey servers: checks, and the form that redis-py reads.

User name and password keep their meaning. Characters that could confuse a URL parser, which might
then quote the URL in its error, are percent-encoded for redis-py. The rest is checked here. So
redis-py's parser has nothing to complain about.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv6Address
from typing import Any, Final
from urllib.parse import quote, unquote

from wren_sessions.config.options import check_same
from wren_sessions.config.urls import ENCODE_HINT, StoreURL
from wren_sessions.errors import ConfigurationError

MAX_PORT: Final = 65_535

_ALIASES: Final = {"valkey": "redis", "valkeys": "rediss"}
_HOST_NAME = re.compile(r"[A-Za-z0-9._-]+")
_HOST_AND_PORT = re.compile(r"(\[(?P<ipv6>[^\[\]]*)\]|(?P<name>[^\[\]:]*))(:(?P<port>[^:]*))?")
_DATABASE = re.compile(r"/?|/(?P<number>[0-9]{1,9})/?")
_SERVICE = re.compile(r"(?P<service>/[^/]+)(?P<database>/[0-9]{1,9})?/?")
_PORT = re.compile(r"[0-9]{1,5}")
_LEFT_AS_IS: Final = "%:!$&'()*+,;=~"


def canonical_redis_url(parts: StoreURL) -> StoreURL:
    """The URL as the store reads it: ``redis``, ``rediss`` or ``unix``; nothing to stumble over.

    Behind ``redis`` and ``rediss`` may stand ``+sentinel`` or ``+cluster``, for several hosts.

    Raises:
        ConfigurationError: the host, port or path cannot be used.
    """
    login, at, host = (parts.authority or "").rpartition("@")
    engine, plus, kind = parts.scheme.partition("+")
    if parts.scheme == "unix":
        if host or not parts.path.strip("/"):
            raise ConfigurationError(
                "a unix URL must name a socket by its absolute path: unix:///run/redis.sock"
            )
    elif kind:
        for one in host.split(","):
            _check_host(parts.scheme, one, needed=True)
        (_check_service if kind == "sentinel" else _check_no_database)(parts.scheme, parts.path)
    else:
        _check_host(parts.scheme, host, needed=bool(at))
        _check_database(parts.scheme, parts.path)
    return replace(
        parts,
        scheme=f"{_ALIASES.get(engine, engine)}{plus}{kind}",
        authority=f"{quote(login, safe=_LEFT_AS_IS)}{at}{host}",
    )


def _check_host(scheme: str, host_and_port: str, *, needed: bool) -> None:
    """Refuse what is no host, with or without a port; no host at all is redis-py's localhost."""
    if not host_and_port and not needed:
        return
    found = _HOST_AND_PORT.fullmatch(host_and_port)
    if not found or not is_host(found["name"] or found["ipv6"] or ""):
        raise ConfigurationError(
            f"the {scheme} URL has no host that can be used. It must be like "
            f"{scheme}://user:password@host:6379 with a name of letters, digits, '.', '-' and '_', "
            "an IPv4 address, or an IPv6 address in brackets"
        )
    if found["port"] is not None and not is_port(found["port"]):
        raise ConfigurationError(
            f"the port of the {scheme} URL must be a number from 1 to {MAX_PORT}; if this was part "
            f"of a password: {ENCODE_HINT}"
        )


def is_host(text: str) -> bool:
    """Whether this can be a host: a name, an IPv4 address, or an IPv6 address without brackets."""
    try:
        return bool(_HOST_NAME.fullmatch(text) or IPv6Address(text))
    except ValueError:
        return False


def is_port(text: str) -> bool:
    """Whether this is a number from 1 to 65,535."""
    return bool(_PORT.fullmatch(text)) and 1 <= int(text) <= MAX_PORT


def _check_database(scheme: str, path: str) -> None:
    if not _DATABASE.fullmatch(path):
        raise ConfigurationError(
            f"the path of the {scheme} URL must be the number of a database, as in "
            f"{scheme}://host:6379/0"
        )


def _check_service(scheme: str, path: str) -> None:
    if not _SERVICE.fullmatch(path):
        raise ConfigurationError(
            f"the path of the {scheme} URL must be the name of the service that the Sentinels "
            f"watch, and perhaps the number of a database, as in {scheme}://host:26379/mymaster/0"
        )


def _check_no_database(scheme: str, path: str) -> None:
    if path not in {"", "/", "/0"}:
        raise ConfigurationError(f"the {scheme} URL has a path, and a cluster has only database 0")


def redis_connection(parts: StoreURL, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """What to give to redis-py, which lets a URL silently win over arguments.

    Args:
        parts: what `canonical_redis_url` made.
        options: checked ones; user name, password and database may be in the URL instead.

    Returns:
        The URL, with the number of the database, and the other options.

    Raises:
        ConfigurationError: the URL and an option contradict each other.
    """
    rest = dict(options)
    _check_login(parts.authority or "", rest)
    if parts.scheme.endswith("+cluster"):
        parts = replace(parts, path="")
    elif parts.scheme != "unix":
        found = _SERVICE.fullmatch(parts.path) if parts.scheme.endswith("+sentinel") else None
        service = found["service"] if found else ""
        database = _path(parts.path.removeprefix(service), rest.pop("db", None))
        parts = replace(parts, path=f"{service}{database}")
    return parts.join(), rest


def _path(path: str, database: int | None) -> str:
    found = _DATABASE.fullmatch(path)
    number = found["number"] if found else None
    if number is None:
        return "" if database is None else f"/{database}"
    if database not in {None, int(number)}:
        raise ConfigurationError(
            "the path of the URL names one database and the option 'db' another: give it once"
        )
    return f"/{int(number)}"


def _check_login(authority: str, options: Mapping[str, Any]) -> None:
    login, _, _ = authority.rpartition("@")
    user, _, password = login.partition(":")
    for name, encoded in (("username", user), ("password", password)):
        if encoded and options.get(name) is not None:
            check_same(name, unquote(encoded), options[name], "as an argument")
    if login and options.get("credential_provider") is not None:
        raise ConfigurationError(
            "the URL has a user name or password, and credential_provider is given too: use one"
        )
