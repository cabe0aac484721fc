"""Store URLs: taking them apart, and showing them without their secrets.

::

    scheme://user:password@host:port/path?option=value
    file:relative/path.db?option=value

A password may stand in the URL as it is, or percent-encoded, or both mixed; only ``/``, ``?`` and
``#`` have to be encoded, or the URL would end in the middle of it. To notice when it did, an ``@``
behind the host is refused (write ``%40``), except in ``file:`` URLs, which have no secrets.

What cannot be read may hold a password anywhere. So no error quotes any of the URL but its scheme,
and `redact` shows the rest only where it is sure which part is the password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final
from urllib.parse import quote

from wren_sessions.errors import ConfigurationError

MAX_PORT: Final = 65_535
HIDDEN: Final = "***"
ENCODE_HINT: Final = (
    "in a user name or password write '/' as %2F, '?' as %3F, '#' as %23 and '@' as %40"
)

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_AUTHORITY = re.compile(r"[^/?#]*")
_HOST = re.compile(r"[A-Za-z0-9._-]+")
_SHOWN_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:]+)(:[0-9]{1,5})?")
_HOST_AND_PORT = re.compile(r"(\[(?P<ipv6>[^\[\]]*)\]|(?P<name>[^\[\]:]*))(:(?P<port>[^:]*))?")
_NOT_QUOTED: Final = "%:!$&'()*+,;=~"  # nothing here confuses a URL parser within a password


@dataclass(frozen=True, slots=True, repr=False)
class StoreURL:
    """A URL in its parts, none of them decoded. It has no repr that shows them.

    Attributes:
        scheme: in lower case.
        authority: what stands between ``//`` and the path; None without ``//``.
        path: up to the question mark.
        query: what follows it.
    """

    scheme: str
    authority: str | None
    path: str
    query: str

    def with_query(self, query: str) -> str:
        """The URL again, with other options."""
        slashes = "" if self.authority is None else f"//{self.authority}"
        return f"{self.scheme}:{slashes}{self.path}{'?' * bool(query)}{query}"


def split_url(url: object) -> StoreURL:
    """Take a URL apart.

    Raises:
        ConfigurationError: it is no text, empty, without a scheme, or not to be read for sure.
    """
    if not isinstance(url, str) or not url:
        raise ConfigurationError(
            "the URL of a store must be text such as 'redis://localhost:6379/0', "
            f"not {'empty' if url == '' else type(url).__name__}"
        )
    if _UNREADABLE.search(url):
        raise ConfigurationError("the URL of a store must not hold control characters")
    start = _SCHEME.match(url)
    if start is None or not (start[2] or start[1].lower() in {"file", "memory"}):
        raise ConfigurationError(
            "the URL of a store must begin with a scheme, such as redis:// or memory://, or for a "
            "file file:sessions.db"
        )
    return _split_rest(start[1].lower(), url[start.end() :], authority=bool(start[2]))


def _split_rest(scheme: str, rest: str, *, authority: bool) -> StoreURL:
    found = _AUTHORITY.match(rest) if authority else None
    host = found[0] if found else None
    behind = rest[len(host or "") :]
    if "@" in behind and scheme != "file":
        raise ConfigurationError(f"the {scheme} URL has an '@' behind its host: {ENCODE_HINT}")
    if "#" in behind:
        raise ConfigurationError(f"the {scheme} URL has a '#' in it; write it as %23")
    path, _, query = behind.partition("?")
    return StoreURL(scheme, host, path, query)


def redact(url: str) -> str:
    """A URL that can be shown: without password and options.

    Args:
        url: any text, also one that is no proper URL.

    Returns:
        ``redis://user:***@host:port/db``. Where it is not sure which part is the password, nothing
        but the scheme: ``redis://***``.
    """
    try:
        parts = split_url(url)
    except ConfigurationError:
        start = _SCHEME.match(url) if isinstance(url, str) else None
        return f"{start[1].lower()}:{start[2]}{HIDDEN}" if start and start[2] else HIDDEN
    if parts.authority is None:
        return parts.with_query("")
    shown = _redact_authority(parts.authority)
    return f"{parts.scheme}://{HIDDEN if shown is None else shown + parts.path}"


def _redact_authority(authority: str) -> str | None:
    login, at, hosts = authority.rpartition("@")
    user, _, password = login.partition(":")
    if hosts and not all(_SHOWN_HOST.fullmatch(host) for host in hosts.split(",")):
        return None
    return f"{f'{user}:' if password else ''}{HIDDEN}@{hosts}" if at else hosts


def redis_url(parts: StoreURL) -> str:
    """A checked URL for redis-py, without path and options; a unix socket's with its path.

    User name and password mean what they meant; characters that a URL parser could stumble over
    (and then quote in its error) are percent-encoded.

    Raises:
        ConfigurationError: the host, port or path cannot be used.
    """
    login, at, host = (parts.authority or "").rpartition("@")
    start = f"{parts.scheme}://{quote(login, safe=_NOT_QUOTED)}{at}"
    if parts.scheme == "unix":
        return start + _check_socket_path(parts.path, host)
    return start + _check_host(parts.scheme, host, needed=bool(at))


def _check_socket_path(path: str, host: str) -> str:
    if host or not path.strip("/"):
        raise ConfigurationError(
            "a unix URL must name a socket by its absolute path: unix:///run/redis.sock"
        )
    return path


def _check_host(scheme: str, host_and_port: str, *, needed: bool) -> str:
    found = _HOST_AND_PORT.fullmatch(host_and_port)
    if found is None or (needed and not host_and_port):
        raise ConfigurationError(f"the {scheme} URL must be like {scheme}://user:password@host:6379")
    if host_and_port and not _is_host(found["name"], found["ipv6"]):
        raise ConfigurationError(
            f"the {scheme} URL has no host that can be used: a name of letters, digits, '.', '-' "
            "and '_', an IPv4 address, or an IPv6 address in brackets"
        )
    if found["port"] is not None and parse_port(found["port"]) is None:
        raise ConfigurationError(
            f"the port of the {scheme} URL must be a number from 1 to {MAX_PORT}; if this is part "
            f"of a password, {ENCODE_HINT}"
        )
    return host_and_port


def _is_host(name: str | None, ipv6: str | None) -> bool:
    return is_host_name(name or "") if ipv6 is None else is_ipv6(ipv6)


def is_ipv6(text: str) -> bool:
    """Whether this is an IPv6 address, with or without a zone."""
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def is_host_name(text: str) -> bool:
    """Whether this can be a host: a name, or an IPv4 address."""
    return bool(_HOST.fullmatch(text))


def parse_port(text: str) -> int | None:
    """A port from 1 to 65,535, or None if the text is none."""
    valid = text.isascii() and text.isdigit() and len(text) <= len(str(MAX_PORT))
    return int(text) if valid and 1 <= int(text) <= MAX_PORT else None
