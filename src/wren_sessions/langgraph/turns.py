"""Turns of runs: from a graph's first look at its thread until the run is over.

LangGraph does not tell a checkpointer when a run is over, but it tells callbacks: `on_chain_end`,
or `on_chain_error` if the run raised an error, was cancelled, or its stream was closed. By then
everything is written. So once a saver has asked for it, LangChain adds a callback handler of ours
to every run. The handler notes the innermost run of its context. When that run asks the saver for a
thread's latest checkpoint, it takes the turn. It gives the turn back when it ends. Stopping at an
interrupt is an end, too.

Calls outside of a run (`graph.get_state`, `update_state`) take no turn.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import cache
from typing import Any, Final
from uuid import UUID
from weakref import WeakValueDictionary

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook

from wren_sessions.checkpoints.turns import Concurrency, Turn
from wren_sessions.protocols import SessionStore, taking_turns


class _Run:
    """A run of anything that LangChain runs.

    Attributes:
        id: LangChain's.
        thread_id: the thread that it is about, as far as LangChain says.
        over: whether it has ended.
    """

    __slots__ = ("__weakref__", "id", "over", "thread_id")

    def __init__(self, id_: UUID, thread_id: Any) -> None:
        self.id = id_
        self.thread_id = thread_id
        self.over = False


_innermost: ContextVar[_Run | None] = ContextVar("innermost", default=None)
_runs: Final[WeakValueDictionary[UUID, _Run]] = WeakValueDictionary()
_blocking: Final[dict[UUID, Turn]] = {}
_awaited: Final[dict[UUID, Turn]] = {}


class _Handler(BaseCallbackHandler):
    """Notes where runs begin and end; ends the turns of blocking ones."""

    run_inline = True  # in the run's own context

    def on_chain_start(
        self, *_: Any, run_id: UUID, metadata: dict[str, Any] | None = None, **__: Any
    ) -> None:
        """A run begins."""
        run = _runs[run_id] = _Run(run_id, (metadata or {}).get("thread_id"))
        _innermost.set(run)

    def on_chain_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """A run has ended."""
        run, turn = _runs.pop(run_id, None), _blocking.pop(run_id, None)
        if run is not None:
            run.over = True
        if turn is not None:
            turn.__exit__(None, None, None)

    def on_chain_error(self, *args: Any, **more: Any) -> None:
        """A run has raised, or was cancelled."""
        self.on_chain_end(*args, **more)


class _AwaitedHandler(AsyncCallbackHandler):
    """Ends the turns of asynchronous runs."""

    run_inline = True

    @property
    def ignore_chain(self) -> bool:
        """Nothing is to be done while no such run has a turn."""
        return not _awaited

    async def on_chain_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """A run has ended."""
        turn = _awaited.pop(run_id, None)
        if turn is not None:
            await turn.__aexit__(None, None, None)

    async def on_chain_error(self, *args: Any, **more: Any) -> None:
        """A run has raised, or was cancelled."""
        await self.on_chain_end(*args, **more)


@cache
def _register() -> None:
    """Have LangChain tell of every run in this process, from now on."""
    for name, handler in (("begins", _Handler()), ("ends", _AwaitedHandler())):
        hook: ContextVar[Any] = ContextVar(f"wren_{name}", default=handler)
        register_configure_hook(hook, inheritable=False)


class RunTurns:
    """The turns that the runs of one saver take.

    Args:
        store: where the sessions are.
        concurrency: ``"reject"`` or ``"wait"``.

    Raises:
        ConfigurationError: the store has no turns.
    """

    def __init__(self, store: SessionStore, concurrency: Concurrency) -> None:
        taking_turns(store)
        _register()
        self._store = store
        self._wait = 0 if concurrency == "reject" else None

    def begin(self, thread_id: Any, session: str) -> None:
        """Take the turn for the run that looks for its thread, if one does."""
        run = _run_of(thread_id)
        if run is not None:
            turn = Turn(self._store, session, wait=self._wait).__enter__()
            if not turn.over:
                _blocking[run.id] = turn

    async def abegin(self, thread_id: Any, session: str) -> None:
        """See `begin`."""
        run = _run_of(thread_id)
        if run is not None:
            turn = await Turn(self._store, session, wait=self._wait).__aenter__()
            if not turn.over:
                _awaited[run.id] = turn


def _run_of(thread_id: Any) -> _Run | None:
    """The innermost run of this context, if it is on, and about this thread."""
    run = _innermost.get()
    if run is None or run.over or run.thread_id not in {None, thread_id}:
        return None
    return run
