"""Stores that only remember how they were made, an empty environment, and a hunt for secrets."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from wren_sessions.errors import ConfigurationError
from wren_sessions.ttl import TTLPolicy

VARIABLES: Final = (
    "WREN_SESSIONS_URL",
    "WREN_SESSIONS_TTL",
    "WREN_SESSIONS_MAX_AGE",
    "WREN_SESSIONS_PREFIX",
    "WREN_SESSIONS_ENCRYPTION_KEYS",
    "WREN_SESSIONS_OWNER_KEYS",
    "WREN_SESSIONS_OWNER_SECRET",
    "WREN_SESSIONS_REQUIRE_PERSISTENT",
    "WREN_SESSIONS_TELEMETRY",
    "REDIS_URL",
    "REDIS_HOST",
    "REDIS_PORT",
    "REDIS_USERNAME",
    "REDIS_PASSWORD",
    "REDIS_DB",
    "REDIS_SSL",
)
CANARY: Final = "canary-hunter2"


@dataclass
class RecordedStore:
    """What a store was made from."""

    backend: str
    at: Any
    ttl: TTLPolicy | None
    prefix: str
    options: dict[str, Any]
    closed: bool = False

    @property
    def location(self) -> str:
        """As little as a store may say."""
        return f"{self.backend}://"

    @property
    def persistent(self) -> bool:
        """As the real stores."""
        return self.backend != "memory"

    def close(self) -> None:
        """Remember it."""
        self.closed = True


@dataclass
class Recorder:
    """The store classes' stand-in."""

    stores: list[RecordedStore] = field(default_factory=list)

    @property
    def last(self) -> RecordedStore:
        """The store made last."""
        return self.stores[-1]

    def factory(self, backend: str) -> Any:
        """What is called in place of a class, or of its ``from_url``."""

        def make(at: Any = None, *, ttl: Any, prefix: str, **options: Any) -> RecordedStore:
            self.stores.append(RecordedStore(backend, at, ttl, prefix, options))
            return self.last

        make.from_url = make  # type: ignore[attr-defined]
        return make


@contextmanager
def recorded() -> Iterator[Recorder]:
    """Put a recorder in the place of the three store modules."""
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        for backend, name in (("memory", "Memory"), ("file", "File"), ("redis", "Redis")):
            module = ModuleType(f"wren_sessions.stores.{backend}")
            setattr(module, f"{name}Store", recorder.factory(backend))
            patch.setitem(sys.modules, module.__name__, module)
        yield recorder


@contextmanager
def empty_environment(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """No variable of ours set, and `folder`, without a ``.env`` yet, the working directory."""
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        patch.chdir(folder)
        yield patch


def refusal(call: Callable[[], object]) -> str:
    """The message of the `ConfigurationError` that the call ends in, free of the canary."""
    with pytest.raises(ConfigurationError) as caught:
        call()
    assert_no_canary(caught.value)
    return str(caught.value)


def assert_no_canary(error: BaseException) -> None:
    """Look for the canary in an error, in its attributes and traceback, and in what led to it."""
    seen: list[BaseException] = []
    rest: list[BaseException | None] = [error]
    while rest:
        link = rest.pop()
        if link is not None and link not in seen:
            seen.append(link)
            rest += [link.__cause__, link.__context__]
    for link in seen:
        assert CANARY not in f"{link} {link!r} {link.args!r} {vars(link)!r}"
        assert CANARY not in "".join(traceback.format_exception(link))
