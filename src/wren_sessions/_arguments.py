"""Checks of arguments: a wrong type is an error at once, which names the class and what to pass.

Each of these raises `ConfigurationError`. `taker` is the class or function that takes the argument.

Texts are never quoted where they may be a URL, which can hold a password.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from wren_sessions.errors import ConfigurationError
from wren_sessions.protocols import SessionStore

_METHODS: Final = tuple(name for name in vars(SessionStore) if not name.startswith("_"))


def check_store(store: Any, taker: str) -> None:
    """Refuse what is not a store."""
    missing = [name for name in _METHODS if not hasattr(store, name)]
    if missing or isinstance(store, type):
        raise ConfigurationError(f"{taker} takes a session store, {_instead(store, missing)}")


def _instead(store: Any, missing: Collection[str]) -> str:
    kind = type(store)
    if isinstance(store, str | bytes):
        return "not text: open a URL with open_store(url)"
    if kind.__module__.partition(".")[0] in {"redis", "fakeredis", "valkey"}:
        return f"not a client: make a store with RedisStore.from_client({kind.__name__.lower()})"
    if hasattr(store, "get_tuple"):
        return f"not a checkpointer ({kind.__name__}): pass the store that it is on (saver.store)"
    if isinstance(store, type):
        return f"not the class {store.__name__}: make one of it, {store.__name__}(…)"
    return f"and {kind.__name__} is not one: it has no {', '.join(missing)}"


def check_saver(saver: Any, name: str, taker: str) -> None:
    """Refuse what is not a LangGraph checkpointer."""
    if not hasattr(saver, "get_tuple") or isinstance(saver, type):
        hint = ""
        if all(hasattr(saver, method) for method in _METHODS):
            hint = ": put the store into one, SessionSaver(store)"
        raise ConfigurationError(
            f"{taker}: {name} must be a LangGraph checkpointer, not {_shown(saver)}{hint}"
        )


def check_serde(serde: Any, taker: str) -> None:
    """Refuse what is not a serializer; None is fine."""
    usable = hasattr(serde, "dumps_typed") and hasattr(serde, "loads_typed")
    if serde is not None and (not usable or isinstance(serde, type)):
        raise ConfigurationError(
            f"{taker}: serde must have dumps_typed and loads_typed, as SafeSerializer() has; "
            f"{_shown(serde)} has not"
        )


def check_names(names: Any, option: str) -> None:
    """Refuse what is not several names."""
    if isinstance(names, str):
        raise ConfigurationError(f"{option} must be several names, not one text: [{names!r}]")
    if not isinstance(names, Collection):
        raise ConfigurationError(f"{option} must be several names, not {_shown(names)}")
    for name in names:
        if not isinstance(name, str):
            raise ConfigurationError(f"{option} must be names, which are text, not {_shown(name)}")


def check_whole_number(value: Any, option: str, least: int = 0) -> None:
    """Refuse what is not a whole number, or is below `least`."""
    if type(value) is not int or value < least:
        raise ConfigurationError(
            f"{option} must be a whole number of at least {least}, not {_shown(value)}"
        )


def check_kind(value: Any, kind: type, option: str, example: str) -> None:
    """Refuse a value that is not of a class; None is fine."""
    if value is not None and not isinstance(value, kind):
        raise ConfigurationError(
            f"{option} must be a {kind.__name__}, not {_shown(value)}: {example}"
        )


def check_callable(value: Callable[..., Any] | None, option: str, gives: str) -> None:
    """Refuse what cannot be called; None is fine."""
    if value is not None and not callable(value):
        raise ConfigurationError(
            f"{option} must be a function that gives {gives}, not {_shown(value)}"
        )


def _shown(value: Any) -> str:
    """A value for an error: numbers as they are, and the type of all else, which may be secret."""
    if isinstance(value, int | float) or value is None:
        return repr(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"a {type(value).__name__}"
