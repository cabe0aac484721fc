"""A process that runs the first turn of a graph, and is killed behind one of its commits.

Run with a session file and a number: behind the commit with that number, the process kills itself,
or behind its turn if that takes fewer (writes that meet their checkpoint go in its commit).
It prints a line for all pending writes that its saver has taken until then.
"""

from __future__ import annotations

import operator
import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph
from langgraph.types import Send

from wren_sessions import FileStore, SessionSaver
from wren_sessions.records import Commit, Committed

TASKS = 6
LONG = "what a task found " * 200


class _Killed(FileStore):
    left = 0

    def commit(self, commit: Commit) -> Committed:
        """Commit, and perhaps do nothing more."""
        done = super().commit(commit)
        _Killed.left -= 1
        if _Killed.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done


class _Telling(SessionSaver):
    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Take writes, then tell which."""
        super().put_writes(config, writes, task_id, task_path)
        os.write(1, f"{config['configurable']['checkpoint_id']} {task_id}\n".encode())


class _State(TypedDict):
    found: Annotated[list[str], operator.add]


def _run(path: str) -> None:
    with _Killed(path) as store:
        graph = StateGraph(_State)
        graph.add_node("look", lambda number: {"found": [f"{number} {LONG}"]})
        graph.add_conditional_edges(
            START, lambda _: [Send("look", number) for number in range(TASKS)], ["look"]
        )
        app = graph.compile(checkpointer=_Telling(store))
        app.invoke({"found": [LONG]}, {"configurable": {"thread_id": "first"}})
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _Killed.left = int(sys.argv[2])
    _run(sys.argv[1])
