"""What a URL means: its backend, and the options in the form that the backend takes.

If a scheme is not built in, it is looked up among the installed packages, as an entry point of the
group ``wren_sessions.stores``: a class with a ``from_url(url, *, ttl, prefix, **options)``, or a
callable with these arguments. The common options are taken out of its URLs. The rest of the URL is
up to that package.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from wren_sessions._options import convert_all, split_query
from wren_sessions.config.backends import BACKENDS, REDIS, Backend, Request
from wren_sessions.config.options import COMMON, merge, near
from wren_sessions.config.urls import StoreURL, split_url
from wren_sessions.errors import ConfigurationError
from wren_sessions.protocols import SessionStore
from wren_sessions.ttl import TTLPolicy

ENTRY_POINTS: Final = "wren_sessions.stores"

_LIFETIME: Final = "say it in the URL, or as ttl=TTLPolicy(idle=…, max_age=…, refresh=…)"
_ARGUMENT_HINTS: Final = {"max_age": _LIFETIME, "refresh": _LIFETIME}

NAMED: Final = (
    "compression",
    "dotenv",
    "encryption",
    "owner_keys",
    "prefix",
    "require_persistent",
    "telemetry",
    "ttl",
    "use_redis",
)
"""The arguments of `open_store` for every backend: it may be one of these that is misspelled."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a URL means.

    Attributes:
        backend: who keeps the sessions.
        parts: the URL, without the options that are below.
        common: its options of every scheme: ``ttl``, ``max_age``, ``refresh``, ``prefix``.
        options: its options of this backend.
    """

    backend: Backend
    parts: StoreURL
    common: Mapping[str, object]
    options: Mapping[str, object]

    def make(
        self, ttl: TTLPolicy | None, prefix: str, arguments: Mapping[str, object]
    ) -> SessionStore:
        """Make the store.

        Raises:
            ConfigurationError: an argument cannot be used, or contradicts the URL.
        """
        options = merge(self.options, _checked(self.backend, arguments))
        return self.backend.make(
            self.backend.load(), Request(self.parts, ttl, prefix, dict(options))
        )


def resolve(url: object) -> Target:
    """Read a URL with its options. No backend is imported.

    Raises:
        ConfigurationError: the URL, its scheme or an option cannot be used.
    """
    parts = split_url(url)
    backend = find_backend(parts.scheme)
    parts = backend.check(parts)
    values, rest = split_query(parts.query, COMMON if backend.open_ended else None)
    _check_names(values, {*COMMON, *backend.options}, backend.hints)
    common = {name: value for name, value in values.items() if name in COMMON}
    own = {name: value for name, value in values.items() if name not in COMMON}
    return Target(
        backend,
        replace(parts, query=rest),
        convert_all(common, COMMON),
        convert_all(own, backend.options),
    )


def _checked(backend: Backend, given: Mapping[str, object]) -> dict[str, object]:
    if backend.open_ended:
        return dict(given)
    hints = {**backend.hints, **_ARGUMENT_HINTS}
    _check_names(given, {*backend.options, *backend.arguments}, hints, NAMED)
    typed = {name: value for name, value in given.items() if name in backend.options}
    rest = {name: value for name, value in given.items() if name not in typed}
    return {**rest, **convert_all(typed, backend.options)}


def _check_names(
    given: Mapping[str, object],
    known: Collection[str],
    hints: Mapping[str, str],
    named: Collection[str] = (),
) -> None:
    """Refuse a name that is not known; `named` are those that the caller has taken out."""
    for name in given:
        if name not in known:
            names = {*known, *named}
            advice = f": {hints[name]}" if name in hints else near(name, names)
            listed = "" if advice else f" (known here: {', '.join(sorted(names))})"
            raise ConfigurationError(f"unknown option {name!r}{advice}{listed}")


def find_backend(scheme: str) -> Backend:
    """The backend of a URL scheme.

    Raises:
        ConfigurationError: there is none; the message names the scheme and those there are.
    """
    if scheme in BACKENDS:
        return BACKENDS[scheme]
    plugins = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if scheme in plugins:
        return _plugin(plugins[scheme])
    known = {*BACKENDS, *plugins}
    raise ConfigurationError(
        f"no store is known for the URL scheme {scheme!r}{near(scheme, known)} "
        f"(known: {', '.join(sorted(known))})"
    )


def is_redis(url: object) -> bool:
    """Whether a URL means a Redis or Valkey server, going by its scheme alone."""
    scheme = url.partition(":")[0].lower() if isinstance(url, str) else ""
    return scheme in REDIS


def _plugin(point: EntryPoint) -> Backend:
    def load() -> Any:
        try:
            return point.load()
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(
                f"the store for {point.name}:// cannot be imported from {point.value}: {error}"
            ) from error

    def make(kind: Any, request: Request) -> SessionStore:
        maker = getattr(kind, "from_url", kind)
        return request.call(maker, request.parts.join(), **request.options)

    return Backend(load, make, check=lambda parts: parts, open_ended=True)
