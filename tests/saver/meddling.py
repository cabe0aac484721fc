"""A store to which something happens between two calls, and what may happen to it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import replace
from typing import Any, Final

import redis

from saver import graphs
from saver.backends import Backend
from wren_sessions import SessionSaver
from wren_sessions.protocols import SessionStore
from wren_sessions.records import Committed, Life, Loaded, Scanned

THREAD: Final = "cli_20251108_145739"
CONFIG: Final[Any] = {"configurable": {"thread_id": THREAD}}
_PAUSE_S: Final = 0.001
LATER_MS: Final = 25 * 3_600_000
CALLS: Final = frozenset({"commit", "load", "scan", "read", "heads", "namespaces", "prune"})


class MeddledStore:
    """A store that lets something happen before its n-th call, on either face.

    Args:
        store: the store.

    Attributes:
        calls: how many calls there were.
        at: before which call it happens; 0 for never.
        happen: what happens.
        anew: whether a graph looked for its thread next, and so began after it.
        puts_since: how many checkpoints were to be written since.
        late_ms: by how much the store's clock is ahead in its answers.
        under_way: how many calls were made and not answered yet.
    """

    def __init__(self, store: SessionStore) -> None:
        self.store = store
        self.calls = 0
        self.at = 0
        self.happen: Callable[[], object] = lambda: None
        self.anew = False
        self.puts_since = 0
        self.late_ms = 0
        self.under_way = 0
        self._lock = threading.Lock()

    @property
    def aio(self) -> Any:
        """The awaitable face."""
        return _Face(self)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.store, name)
        if name not in CALLS:
            return found

        def call(*args: Any, **options: Any) -> Any:
            while not self.begin(name, args):
                time.sleep(_PAUSE_S)
            try:
                return self.told(found(*args, **options))
            finally:
                self.end()

        return call

    def begin(self, name: str, args: tuple[Any, ...]) -> bool:
        """Count a call, and let it happen if it is time; not yet while other calls are under way.

        Returns:
            Whether the call may be made now.
        """
        puts = name == "commit" and args[0].record is not None
        looks = name == "load" and args[1:3] in {("", None), ("",), ()}
        with self._lock:
            if self.under_way and self.calls + 1 == self.at:
                return False
            self.under_way += 1
            self.calls += 1
            now = self.calls == self.at
            if self.calls >= self.at > 0:
                self.anew = self.anew or (looks and not self.puts_since)
                self.puts_since += puts
        if now:
            self.happen()
        return True

    def end(self) -> None:
        """A call was answered."""
        with self._lock:
            self.under_way -= 1

    def told(self, answer: Any) -> Any:
        """The answer, by a clock that may be ahead."""
        if not self.late_ms:
            return answer
        if isinstance(answer, Life):
            ends = answer.deadline_ms
            return replace(
                answer,
                now_ms=answer.now_ms + self.late_ms,
                deadline_ms=None if ends is None else ends + self.late_ms,
            )
        if isinstance(answer, Committed):
            life = self.told(answer.life)
            return replace(answer, now_ms=answer.now_ms + self.late_ms, life=life)
        if isinstance(answer, Loaded | Scanned):
            return replace(answer, life=self.told(answer.life))
        return answer


class _Face:
    def __init__(self, meddled: MeddledStore) -> None:
        self._meddled = meddled

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._meddled.store.aio, name)
        if name not in CALLS:
            return found

        async def call(*args: Any, **options: Any) -> Any:
            while not self._meddled.begin(name, args):  # noqa: ASYNC110 -- threads end calls, too
                await asyncio.sleep(_PAUSE_S)
            try:
                return self._meddled.told(await found(*args, **options))
            finally:
                self._meddled.end()

        return call


# --- what may happen ------------------------------------------------------------------------------


class Fates:
    """What may happen to the session of a running graph.

    Args:
        backend: where it is.
        meddled: the store that the graph's saver uses.
        saver: the graph's saver.
    """

    def __init__(self, backend: Backend, meddled: MeddledStore, saver: SessionSaver) -> None:
        self._backend = backend
        self._meddled = meddled
        self._saver = saver
        self._elsewhere = backend.store()

    def deleted_here(self) -> None:
        """The application deletes the thread, by the same saver."""
        SessionSaver.delete_thread(self._saver, THREAD)

    def deleted_elsewhere(self) -> None:
        """Another process deletes it, or the server evicts it."""
        if self._backend.name == "redis":
            with redis.Redis.from_url(self._backend.url) as client:
                client.unlink(self._elsewhere.keys.session_key(THREAD))
        else:
            self._elsewhere.delete(THREAD)

    def looked_for(self) -> None:
        """It is deleted elsewhere, and the application finds that out by itself."""
        self.deleted_elsewhere()
        assert copy_context().run(self._saver.get_tuple, CONFIG) is None

    def expired(self) -> None:
        """Its deadline passes."""
        if self._backend.name == "redis":
            self.deleted_elsewhere()
            self._meddled.late_ms = LATER_MS
        else:
            self._backend.clock.advance("25h")

    def outlived(self) -> None:
        """Its maximum age passes."""
        self._backend.clock.advance("40h")

    def replaced_here(self) -> None:
        """The application deletes it and begins a new one, by the same saver."""
        self.deleted_here()
        self._begin(self._saver)

    def replaced_elsewhere(self) -> None:
        """Another process does."""
        self.deleted_elsewhere()
        self._begin(SessionSaver(self._elsewhere))

    def _begin(self, saver: SessionSaver) -> None:
        graph = graphs.chat().compile(checkpointer=saver)
        given = {"messages": [graphs.said(500, "human")]}
        copy_context().run(graph.invoke, given, CONFIG)  # another request, another context
