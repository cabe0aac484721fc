"""Store URLs: parsing them, and showing them without their secrets.

::

    scheme://user:password@host:port/path?option=value
    file:relative/path.db?option=value

A password can be in the URL unchanged, percent-encoded, or a mix of both. Only ``/``, ``?`` and
``#`` must be encoded, because they would end it. To notice if one was not encoded, an ``@``
behind the host is refused (write ``%40``), except in the path of a ``file:`` URL.

A URL that cannot be parsed may have a password anywhere. So errors quote nothing but its scheme,
and `redact` shows the rest only if it is certain which part is the password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from wren_sessions.errors import ConfigurationError

HIDDEN: Final = "***"
ENCODE_HINT: Final = (
    "in a user name or password write '/' as %2F, '?' as %3F, '#' as %23 and '@' as %40"
)

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_AUTHORITY = re.compile(r"[^/?#]*")
_SHOWN_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:]+)(:[0-9]{1,5})?")


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

    def join(self) -> str:
        """The URL again."""
        slashes = "" if self.authority is None else f"//{self.authority}"
        return f"{self.scheme}:{slashes}{self.path}{'?' * bool(self.query)}{self.query}"


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
    if "@" in behind and (host or scheme != "file"):
        raise ConfigurationError(f"the {scheme} URL has an '@' behind its host: {ENCODE_HINT}")
    if "#" in behind:
        raise ConfigurationError(f"the {scheme} URL has a '#' in it; write it as %23")
    path, _, query = behind.partition("?")
    return StoreURL(scheme, host, path, query)


def redact(url: object) -> str:
    """A URL that can be shown: without password and options.

    Args:
        url: anything, also what is no proper URL.

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
        return f"{parts.scheme}:{parts.path}"
    shown = _redact_authority(parts.authority)
    return f"{parts.scheme}://{HIDDEN if shown is None else shown + parts.path}"


def _redact_authority(authority: str) -> str | None:
    login, at, hosts = authority.rpartition("@")
    user, _, password = login.partition(":")
    if hosts and not all(_SHOWN_HOST.fullmatch(host) for host in hosts.split(",")):
        return None
    return f"{f'{user}:' if password else ''}{HIDDEN}@{hosts}" if at else hosts
