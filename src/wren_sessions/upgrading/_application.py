"""The application that is to be deployed: its serializer, its graph's nodes and channels.

Nothing of LangGraph is imported here: a graph is known by what it has.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from wren_sessions.delta.encoder import Serializer
from wren_sessions.errors import ConfigurationError
from wren_sessions.serializers import default_serializer
from wren_sessions.serializers._channels import graph_path
from wren_sessions.serializers.migrations import Migrations


@dataclass(frozen=True, slots=True)
class Shape:
    """What a graph has: the names of its nodes and channels."""

    nodes: frozenset[str]
    channels: frozenset[str]


@dataclass(frozen=True, slots=True)
class Application:
    """What sessions are read with.

    Attributes:
        serde: the serializer.
        shapes: the graph by the path of its nodes: the root graph's is empty. Empty if there is no
            graph.
    """

    serde: Serializer
    shapes: dict[str, Shape]

    def shape(self, namespace: str) -> Shape | None:
        """The shape of the graph that writes to a namespace, if it is known."""
        return self.shapes.get(graph_path(namespace))


def application(target: str, migrations: str | None = None) -> Application:
    """The application that a name leads to, which is imported, as the app itself would be.

    Args:
        target: ``"module:name"`` of a graph, compiled or not, a `SessionSaver`, `Sessions`, a
            serializer, `Migrations`, or a function without arguments that gives one of them.
        migrations: the same of further migrations, instead of those that the serializer has.

    Raises:
        ConfigurationError: it cannot be imported, or is something else.
    """
    found = imported(target)
    if isinstance(found, Migrations):
        return Application(default_serializer().with_migrations(found), {})
    graph = _compiled(found)
    holder = found if graph is None else getattr(graph, "checkpointer", None)
    serde = holder if hasattr(holder, "loads_typed") else getattr(holder, "serde", None)
    if graph is None and serde is None and not hasattr(found, "load"):
        raise ConfigurationError(
            f"{target} is a {type(found).__name__}, and must be a graph, a SessionSaver, Sessions, "
            "a serializer or Migrations: name another one with --app"
        )
    serde = serde or default_serializer()
    if migrations is not None:
        extra = imported(migrations)
        if not isinstance(extra, Migrations) or not hasattr(serde, "with_migrations"):
            raise ConfigurationError(
                f"{migrations} is a {type(extra).__name__}, and must be Migrations for a "
                f"SafeSerializer; {target} has a {type(serde).__name__}"
            )
        serde = serde.with_migrations(extra)
    return Application(serde, {} if graph is None else _shapes(graph))


def imported(target: str) -> Any:
    """What ``"module:name"`` leads to; a function without arguments is called.

    Raises:
        ConfigurationError: it cannot be imported.
    """
    module, colon, path = target.partition(":")
    if not colon or not module or not path:
        raise ConfigurationError(
            f"{target!r} is not the name of an app: write module:name, such as --app app:graph"
        )
    if os.getcwd() not in sys.path:  # noqa: PTH109 -- as `python -m` does
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        found = import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except Exception as error:
        raise ConfigurationError(
            f"{target} cannot be imported: {type(error).__name__}: {error}; run this where the app "
            "runs, with what it needs installed"
        ) from error
    is_one = _has_graph(found) or isinstance(found, Migrations) or hasattr(found, "loads_typed")
    return found() if callable(found) and not is_one and not hasattr(found, "load") else found


def _has_graph(found: Any) -> bool:
    return hasattr(found, "nodes") and hasattr(found, "channels")


def _compiled(found: Any) -> Any:
    """A graph as it runs; None for anything else."""
    if not _has_graph(found):
        return None
    return found if hasattr(found, "checkpointer") else found.compile()


def _shapes(graph: Any) -> dict[str, Shape]:
    graphs = {"": graph}
    if hasattr(graph, "get_subgraphs"):
        graphs |= dict(graph.get_subgraphs(recurse=True))
    return {
        path: Shape(frozenset(each.nodes), frozenset(each.channels))
        for path, each in graphs.items()
        if hasattr(each, "nodes") and hasattr(each, "channels")
    }
