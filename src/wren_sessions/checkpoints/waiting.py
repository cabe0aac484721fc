"""The state of the step after a checkpoint: which tasks wait or have failed. Pure.

It follows from the tasks and channels of pending writes; values are not looked at. A task is
finished once it has written a result. Until then, its last question waits for an answer, even if an
earlier question of the task was answered, and its error counts. LangGraph sees it in the same way.

A task that raised an error after it was answered has failed. It runs again, and need not be asked.
Its last question is still among the questions, as in LangGraph's ``StateSnapshot.interrupts``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeAlias, TypeVar

from wren_sessions.checkpoints.codec import writes_of
from wren_sessions.records import Stored

T = TypeVar("T")

Status: TypeAlias = Literal["waiting", "failed", "open"]

INTERRUPT: Final = "__interrupt__"
RESUME: Final = "__resume__"
ERROR: Final = "__error__"
_NO_RESULT: Final = frozenset({INTERRUPT, RESUME, ERROR, "__error_source_node__", "__scheduled__"})


@dataclass(frozen=True, slots=True)
class NextStep(Generic[T]):
    """The step after a checkpoint, as far as it has come.

    Attributes:
        questions: what waits for an answer.
        errors: what was raised.
        begun: whether there is anything of it besides answers.
        status: ``"waiting"`` for an answer, ``"failed"``, or neither: ``"open"``.
    """

    questions: tuple[T, ...]
    errors: tuple[T, ...]
    begun: bool
    status: Status


def next_step(writes: Iterable[tuple[str, str, T]]) -> NextStep[T]:
    """The step that pending writes are of: task id, channel and value, in LangGraph's order."""
    writes = tuple(writes)
    finished = {task for task, channel, _ in writes if channel not in _NO_RESULT}
    left = [write for write in writes if write[0] not in finished]
    asked, raised, answered = (
        {task for task, name, _ in left if name == channel}
        for channel in (INTERRUPT, ERROR, RESUME)
    )
    failed = raised - (asked - answered)
    return NextStep(
        questions=tuple(value for _, channel, value in left if channel == INTERRUPT),
        errors=tuple(value for _, channel, value in left if channel == ERROR),
        begun=any(channel != RESUME for _, channel, _ in writes),
        status="waiting" if asked - failed else "failed" if failed else "open",
    )


def step_after(session: str, stored: Stored) -> NextStep[None]:
    """The step after a stored checkpoint.

    Raises:
        CorruptSessionError: a pending write is damaged.
    """
    writes = writes_of(session, stored)
    return next_step((write.task_id, write.channel, None) for write in writes)
