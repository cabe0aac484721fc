"""An application whose one class changes between releases, of every kind that may be stored."""

from __future__ import annotations

import sys
from collections import namedtuple
from dataclasses import field, make_dataclass
from types import ModuleType
from typing import Any

import pydantic
import pydantic.v1

from wren_sessions import SafeSerializer


def dataclass_kind(**fields: Any) -> Any:
    """A dataclass with these fields, besides one."""
    given = [
        (
            name,
            Any,
            field(default_factory=list) if type(default) is list else field(default=default),
        )
        for name, default in fields.items()
    ]
    return make_dataclass("Changing", [("kept", int), *given])


def model_kind(**fields: Any) -> Any:
    """A pydantic model with these fields."""
    given: dict[str, Any] = {name: (Any, default) for name, default in fields.items()}
    return pydantic.create_model("Changing", kept=(int, ...), **given)


def old_model_kind(**fields: Any) -> Any:
    """A model of pydantic 1 with these fields."""
    given: dict[str, Any] = {name: (Any, default) for name, default in fields.items()}
    return pydantic.v1.create_model("Changing", kept=(int, ...), **given)


def named_tuple_kind(**fields: Any) -> Any:
    """A named tuple with these fields."""
    return namedtuple("Changing", ["kept", *fields], defaults=fields.values())  # noqa: PYI024


KINDS = (dataclass_kind, model_kind, old_model_kind, named_tuple_kind)


class App:
    """A module of an application, whose one class changes between releases."""

    def __init__(self) -> None:
        self._module = ModuleType("changing_app")
        sys.modules["changing_app"] = self._module

    def releases(self, kind: Any) -> Any:
        """Install a class."""
        return self.also("Changing", kind)

    def also(self, name: str, kind: Any) -> Any:
        """Install another class."""
        kind.__module__, kind.__qualname__ = "changing_app", name
        self._module.__dict__[name] = kind
        return kind

    def without(self, name: str) -> None:
        """Take a class out of the module."""
        del self._module.__dict__[name]

    def drop(self, name: str) -> None:
        """The same, if it is there."""
        self._module.__dict__.pop(name, None)

    def kind(self, name: str) -> Any:
        """A class that is installed."""
        return self._module.__dict__[name]

    def move(self, name: str) -> None:
        """Give the module, and the class in it, another name."""
        sys.modules.pop("changing_app.before", None)
        sys.modules["changing_app"] = ModuleType("changing_app")  # the package is there in each
        sys.modules[name] = self._module
        self._module.__dict__["Changing"].__module__ = name


def written(value: Any) -> tuple[str, bytes]:
    """A value as it is stored."""
    return SafeSerializer().dumps_typed(value)


def read(stored: tuple[str, bytes]) -> Any:
    """What is stored, as a value."""
    return SafeSerializer().loads_typed(stored)
