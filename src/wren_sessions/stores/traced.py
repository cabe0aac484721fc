"""Wraps any store, and turns its calls into OpenTelemetry spans and measurements.

``open_store(…, telemetry=True)`` creates one. With telemetry off, nothing is wrapped, and calls
cost nothing extra. Names follow OpenTelemetry's semantic conventions for databases where they fit.
Each call of the store is a span, a child of the caller's span. It begins in the caller's thread or
task, even if the store then works in another thread.

Spans and metrics never contain stored data: no value, no key name, no owner, no error text. Session
ids are in spans only if you ask for them, and never in metrics.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from wren_sessions import __version__
from wren_sessions._arguments import check_store
from wren_sessions.errors import ConfigurationError
from wren_sessions.protocols import AsyncSessionStore, SessionStore
from wren_sessions.stores._closing import Closing

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

OPERATIONS: Final = (
    *("commit", "prune", "load", "scan", "read", "heads", "info", "list_sessions", "touch"),
    *("set_ttl", "pin", "delete", "copy", "annotate", "list_owned", "delete_owned", "turn", "ping"),
)
"""The methods of a store that are traced, if the store has them."""

_SCHEMA: Final = "https://opentelemetry.io/schemas/1.36.0"
_SYSTEM: Final = "db.system.name"
_OPERATION: Final = "db.operation.name"
_NAMESPACE: Final = "db.namespace"
_ADDRESS: Final = "server.address"
_PORT: Final = "server.port"
_ERROR: Final = "error.type"
_SESSION: Final = "gen_ai.conversation.id"
_OUTCOME: Final = "wren_sessions.outcome"
_DURATION: Final = "db.client.operation.duration"
_BOUNDS_S: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)  # the buckets of the conventions

_SYSTEMS: Final = {"file": "sqlite", "rediss": "redis", "unix": "redis"}
_OF_NO_SESSION: Final = frozenset({"list_sessions", "list_owned", "ping"})


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What a store reports to OpenTelemetry, and to which providers.

    Args:
        session_ids: whether spans say which session they are about, as ``gen_ai.conversation.id``.
        tracer_provider: the provider that gets spans; None for the global one.
        meter_provider: the provider that gets metrics; None for the global one.
    """

    session_ids: bool = False
    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None


class TracedStore(Closing):
    """A `SessionStore` that wraps another one and reports its calls to OpenTelemetry.

    Args:
        store: the store below.
        telemetry: what to report, and to which providers.

    Raises:
        ConfigurationError: OpenTelemetry is not installed, or an argument is not of its type.
    """

    aio: AsyncSessionStore

    def __init__(self, store: SessionStore, telemetry: Telemetry | None = None) -> None:
        check_store(store, type(self).__name__)
        telling = _Telling(store, telemetry or Telemetry())
        self._store = store
        self.aio = _AsyncTraced(store.aio, telling)
        for name in OPERATIONS:
            if hasattr(store, name):
                setattr(self, name, telling.blocking(name, getattr(store, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def __repr__(self) -> str:
        return f"<{self._store!r}, traced>"


class _AsyncTraced:
    """The async API of a `TracedStore`."""

    def __init__(self, face: AsyncSessionStore, telling: _Telling) -> None:
        self._face = face
        for name in OPERATIONS:
            if hasattr(face, name):
                setattr(self, name, telling.awaited(name, getattr(face, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._face, name)


class _Telling:
    """Turns the calls of one store into spans and measurements."""

    def __init__(self, store: SessionStore, telemetry: Telemetry) -> None:
        try:
            self._trace = import_module("opentelemetry.trace")
            metrics = import_module("opentelemetry.metrics")
        except ImportError:
            raise ConfigurationError(
                "telemetry needs OpenTelemetry: pip install 'wren-sessions[opentelemetry]'"
            ) from None
        known = ("wren_sessions", __version__)
        self._tracer = self._trace.get_tracer(*known, telemetry.tracer_provider, _SCHEMA)
        meter = metrics.get_meter(*known, telemetry.meter_provider, _SCHEMA)
        self._duration = meter.create_histogram(
            _DURATION,
            unit="s",
            description="Duration of database client operations.",
            explicit_bucket_boundaries_advisory=_BOUNDS_S,
        )
        self._about = _about(store.location)
        server = [str(self._about[name]) for name in (_ADDRESS, _PORT) if name in self._about]
        self._target = ":".join(server) or self._about[_SYSTEM]
        kinds = self._trace.SpanKind
        self._kind = kinds.CLIENT if store.persistent else kinds.INTERNAL
        self._session_ids = telemetry.session_ids

    def blocking(self, operation: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """A blocking method, traced."""

        @wraps(call)
        def told(*args: Any, **kwargs: Any) -> Any:
            with self._told(operation, args, kwargs) as span:
                return _seen(span, call(*args, **kwargs))

        return told

    def awaited(
        self, operation: str, call: Callable[..., Awaitable[Any]]
    ) -> Callable[..., Awaitable[Any]]:
        """An async method, traced."""

        @wraps(call)
        async def told(*args: Any, **kwargs: Any) -> Any:
            with self._told(operation, args, kwargs) as span:
                return _seen(span, await call(*args, **kwargs))

        return told

    @contextmanager
    def _told(
        self, operation: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Iterator[Span]:
        about = {**self._about, _OPERATION: operation}
        named = _session_of(operation, args, kwargs) if self._session_ids else {}
        began_s = perf_counter()
        with self._tracer.start_as_current_span(
            f"{operation} {self._target}",
            kind=self._kind,
            attributes={**about, **named},
            record_exception=False,  # its text may name what is stored
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                about[_ERROR] = f"{type(error).__module__}.{type(error).__qualname__}"
                span.set_attribute(_ERROR, about[_ERROR])
                span.set_status(self._trace.StatusCode.ERROR)
                raise
            finally:
                self._duration.record(perf_counter() - began_s, about)


def _about(location: str) -> dict[str, str | int]:
    """The attributes of a location: the database system, and the server if there is one."""
    scheme = location.partition(":")[0]
    kind = scheme.partition("+")[0]
    about: dict[str, str | int] = {_SYSTEM: _SYSTEMS.get(kind, kind)}
    if scheme not in {"redis", "rediss"}:  # several servers, or those of Sentinels
        return about
    parts = urlsplit(location)
    if parts.hostname:
        about[_ADDRESS] = parts.hostname
        about[_PORT] = parts.port or 6379
    if parts.path.strip("/").isdigit():
        about[_NAMESPACE] = parts.path.strip("/")
    return about


def _session_of(operation: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, str]:
    """The session that a call is about; nothing for a call about several sessions."""
    if operation in _OF_NO_SESSION:
        return {}
    first = args[0] if args else next(iter(kwargs.values()), None)
    session = first if isinstance(first, str) else getattr(first, "session", None)
    return {_SESSION: session} if isinstance(session, str) else {}


def _seen(span: Span, answer: Any) -> Any:
    """Add the outcome of a commit or a prune: a failed condition there is not an error."""
    outcome = getattr(answer, "outcome", None)
    if isinstance(outcome, str):
        span.set_attribute(_OUTCOME, outcome)
    return answer
