"""One interview, wherever it stands: what it waits for, and what happens with an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from graph import Graph, Interview, Waiting, beginning
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, Interrupt, StateSnapshot

from wren_sessions import SessionNotFoundError


def not_found(session: str) -> SessionNotFoundError:
    """What to say of a session that is not there."""
    return SessionNotFoundError(f"session {session!r}: not found or expired", session=session)


@dataclass(frozen=True, slots=True)
class Conversation:
    """An interview in one session.

    Attributes:
        graph: the compiled graph, with its checkpointer.
        session: the session's id, which is LangGraph's thread id.
    """

    graph: Graph
    session: str

    def waiting(self) -> Waiting | None:
        """The question that waits for an answer, or None when the interview is complete.

        Starts the interview if need be. Where a process died between two questions, runs on from
        the last thing it saved: a step whose result is there but which was not closed still has its
        task, though `snapshot.next` is empty already.
        """
        snapshot = self.graph.get_state(self._config)
        pending = _pending(snapshot)
        if pending or (snapshot.values and not snapshot.tasks):
            return _question(pending)
        return self._run(None if snapshot.values else beginning())

    def answer(self, text: str) -> Waiting | None:
        """Answer the question; the next one, or None when the interview is complete.

        Raises:
            SessionNotFoundError: the session expired while the person was thinking. LangGraph alone
                would begin a new thread with this answer.
        """
        if not self.graph.get_state(self._config).values:
            raise not_found(self.session)
        return self._run(Command(resume=text))

    @property
    def state(self) -> Interview:
        """All that was said and found out so far."""
        return cast("Interview", self.graph.get_state(self._config).values)

    @property
    def _config(self) -> RunnableConfig:
        return {"configurable": {"thread_id": self.session}}

    def _run(self, given: Interview | Command[Any] | None) -> Waiting | None:
        """Run to the next question. With "sync", an answer is stored before the next step runs."""
        result = self.graph.invoke(given, self._config, durability="sync")
        return _question(result.get("__interrupt__", ()))


def _pending(snapshot: StateSnapshot) -> list[Interrupt]:
    """Interrupts still to be answered: a task that has a result has its answer."""
    return [found for task in snapshot.tasks if not task.result for found in task.interrupts]


def _question(interrupts: list[Interrupt] | tuple[Interrupt, ...]) -> Waiting | None:
    return cast("Waiting", interrupts[0].value) if interrupts else None
