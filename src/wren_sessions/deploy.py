"""A checkpointer for LangGraph's Agent Server. You write no code for it.

``langgraph.json`` names it by its path, and the environment says where sessions are kept::

    "checkpointer": { "path": "wren_sessions.deploy.checkpointer" },
    "env": { "WREN_SESSIONS_URL": "file:sessions.db" }

The server enters the context manager once in each of its threads, and leaves it only in the thread
that it started in. So a process has one saver: the first thread to enter opens and closes it, and
all others share it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from threading import Lock
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple

from wren_sessions.checkpoints import Checkpoints
from wren_sessions.checkpoints.listing import Listing
from wren_sessions.checkpoints.put import Put
from wren_sessions.checkpoints.snapshots import Snapshot
from wren_sessions.config import NOTHING, Settings
from wren_sessions.config.environment import WREN_URL
from wren_sessions.errors import ConfigurationError
from wren_sessions.langgraph import SessionSaver

__all__ = ["ServerSaver", "checkpointer"]

_OF_A_REQUEST: Final = frozenset(
    {
        "langgraph_auth_permissions",
        "langgraph_auth_user",
        "langgraph_auth_user_id",
        "langgraph_request_id",
    }
)
_lock = Lock()
_savers: list[SessionSaver] = []  # the one that is open


class ServerSaver(SessionSaver):
    """A `SessionSaver` that handles what the server adds to checkpoints and how it asks for them.

    The user's name and the request's id are not stored with a checkpoint, because they belong to
    the request. In a copy of a thread, the metadata names the copy. ``before`` may be just the
    checkpoint's ids, as in the server's API.
    """

    async def _write(self, checkpoints: Checkpoints, put: Put) -> None:
        noted = put.metadata.items()
        put.metadata = {name: value for name, value in noted if name not in _OF_A_REQUEST}
        await super()._write(checkpoints, put)

    def _tuple(self, thread_id: Any, session: str, found: Snapshot) -> CheckpointTuple:
        whole = super()._tuple(thread_id, session, found)
        if "thread_id" in whole.metadata:
            whole.metadata["thread_id"] = session  # type: ignore[typeddict-unknown-key]
        return whole

    def _listing(
        self,
        checkpoints: Checkpoints,
        config: RunnableConfig | None,
        where: Mapping[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Listing:
        if before and "configurable" not in before:
            before = {"configurable": dict(before)}
        return super()._listing(checkpoints, config, where, before, limit)


@asynccontextmanager
async def checkpointer(**options: Any) -> AsyncIterator[SessionSaver]:
    """The saver of this process, on the store that the environment or ``.env`` names.

    Args:
        options: ``serde``, ``cache_bytes``, ``header``, ``retention``, ``migrations``,
            ``concurrency`` and ``owner_key``, as for `SessionSaver`. The first thread to enter
            decides on the options.

    Raises:
        ConfigurationError: no store is configured, or it cannot be used.
        StoreUnavailableError: the store does not answer.
    """
    with _lock:
        is_first = not _savers
        if is_first:
            _savers.append(_opened(options))
        saver = _savers[0]
    try:
        await saver.store.aio.ping()
        yield saver
    finally:
        if is_first:
            _savers.clear()
            await saver.store.aio.close()


def _opened(options: dict[str, Any]) -> SessionSaver:
    """A saver on the store that is configured.

    Raises:
        ConfigurationError: no store is configured, or it cannot be used.
    """
    settings = Settings.from_env()
    if settings.source == NOTHING:
        raise ConfigurationError(
            f"no store is configured: set {WREN_URL}, for example to file:sessions.db or "
            'redis://localhost:6379/0, in the environment, in .env or in "env" of langgraph.json'
        )
    return ServerSaver(settings.open(), **options)
