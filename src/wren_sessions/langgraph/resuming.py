"""Resumes a graph of an application from outside, as the pages in a browser do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph.types import Command

from wren_sessions.errors import ConfigurationError
from wren_sessions.langgraph.saver import SessionSaver
from wren_sessions.protocols import SessionStore


class Resuming:
    """Resumes and updates the sessions of one store.

    Args:
        graph: the graph, compiled or not. It runs on the store, whatever it was compiled with.
        store: the store.

    Raises:
        ConfigurationError: it is no graph.
    """

    def __init__(self, graph: Any, store: SessionStore) -> None:
        self._graph = _on(graph, store)

    async def answer(self, session: str, question: str, answer: Any) -> None:
        """Go on with an answer.

        Args:
            session: the session.
            question: the id of the interrupt; empty for the only one.
            answer: what ``interrupt()`` is to return.
        """
        resume = {question: answer} if question else answer
        await self._graph.ainvoke(Command(resume=resume), _config(session))

    async def again(self, session: str) -> None:
        """Go on without an answer: what failed runs again, with the answers that it has."""
        await self._graph.ainvoke(None, _config(session))

    async def update(self, session: str, values: Mapping[str, Any]) -> None:
        """Write values into the state, as ``update_state`` does."""
        await self._graph.aupdate_state(_config(session), dict(values))


def _config(session: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": session}}


def _on(graph: Any, store: SessionStore) -> Any:
    """A compiled graph on a store; with the serializer that it has."""
    if not hasattr(graph, "nodes") or not hasattr(graph, "channels"):
        raise ConfigurationError(
            f"a LangGraph graph is needed, compiled or not, not {type(graph).__name__}: pass "
            "graph=builder.compile()"
        )
    if not hasattr(graph, "checkpointer"):
        return graph.compile(checkpointer=SessionSaver(store))
    own = graph.checkpointer
    kept: SessionStore | None = getattr(own, "store", None)
    same = kept is not None and store.persistent and kept.location == store.location
    if kept is store or same:
        return graph
    return graph.copy({"checkpointer": SessionSaver(store, serde=getattr(own, "serde", None))})
