"""Moving in: threads of any LangGraph checkpointer, and sessions from store to store.

`import_checkpoints` goes through LangGraph's interface, value by value, so its ends may be any two
checkpointers. `copy_sessions` goes through the store protocol: it decodes no value, and needs
neither LangGraph nor the classes of the application.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from wren_sessions._arguments import check_saver, check_store
from wren_sessions._blocking import Unsuspended, run
from wren_sessions.delta.protection import protection_of
from wren_sessions.errors import ConfigurationError
from wren_sessions.protocols import SessionStore
from wren_sessions.transfer._copying import Copying
from wren_sessions.transfer._reports import CopyReport, ImportReport, OnProgress
from wren_sessions.transfer._savers import AwaitedSaver, BlockingSaver, Saver

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver

__all__ = ["acopy_sessions", "aimport_checkpoints", "copy_sessions", "import_checkpoints"]


def import_checkpoints(
    saver: BaseCheckpointSaver[Any],
    target: BaseCheckpointSaver[Any],
    *,
    threads: Iterable[str] | None = None,
    verify: bool = True,
    on_progress: OnProgress | None = None,
) -> ImportReport:
    """Copy threads from one LangGraph checkpointer into another.

    All checkpoints of all namespaces go, the oldest first, with their ids, parents, versions,
    metadata, values and pending writes. The source is only read. One checkpoint is in memory at a
    time. An import that was interrupted goes on where it stopped when it is run again, and one that
    is run again later brings what has come since.

    Versions stay as they are, unless the target could not go on from them: numbers become text for
    a target that counts in text, text becomes numbers for one that counts in numbers, and counters
    get as many digits as the target's.

    A thread that the target has all of, and more, was moved and is in use: it is left alone.

    Args:
        saver: the source: any checkpointer with blocking methods.
        target: a `SessionSaver`, or any other checkpointer (the way back).
        threads: which threads; None (default) for all, which makes the source list all of its
            checkpoints. One that is not there is no error.
        verify: read each checkpoint back after it was written, and compare it (default). What is
            in the target already is compared in any case.
        on_progress: called with a `Progress` after every checkpoint.

    Returns:
        For each thread, how many checkpoints were written and how many were there, and its size.

    Raises:
        ConflictError: the target has the thread, and it is not what an earlier import wrote; or
            it was written or deleted by somebody else, or ran out, while it was imported.
        SerializationError: a value cannot be stored, or is read back as another.
        CorruptSessionError: anything else of a checkpoint is read back as another.
        ConfigurationError: the source has no blocking methods, or lists too many checkpoints.
    """
    _check_import(saver, target, "import_checkpoints")
    ends = (BlockingSaver(saver), BlockingSaver(target))
    try:
        return run(_import(*ends, threads, verify=verify, on_progress=on_progress))
    except NotImplementedError as error:
        raise ConfigurationError(
            f"{type(saver).__name__} or {type(target).__name__} has no blocking methods: use "
            f"aimport_checkpoints ({error})"
        ) from error


async def aimport_checkpoints(
    saver: BaseCheckpointSaver[Any],
    target: BaseCheckpointSaver[Any],
    *,
    threads: Iterable[str] | None = None,
    verify: bool = True,
    on_progress: OnProgress | None = None,
) -> ImportReport:
    """Copy threads between checkpointers that are awaited; see `import_checkpoints`.

    Raises:
        ConfigurationError: an end has no asynchronous methods; besides what `import_checkpoints`
            raises.
    """
    _check_import(saver, target, "aimport_checkpoints")
    ends = (AwaitedSaver(saver), AwaitedSaver(target))
    try:
        return await _import(*ends, threads, verify=verify, on_progress=on_progress)
    except NotImplementedError as error:
        raise ConfigurationError(
            f"{type(saver).__name__} or {type(target).__name__} has no asynchronous methods: use "
            f"import_checkpoints ({error})"
        ) from error


def copy_sessions(
    source: SessionStore,
    target: SessionStore,
    *,
    sessions: Iterable[str] | None = None,
    replace: bool = False,
    on_progress: OnProgress | None = None,
) -> CopyReport:
    """Copy sessions, whole, from one store to another.

    Records, pending writes, header, creation time, idle timeout and pin go; no value is decoded,
    and what checkpoints share stays shared. What is encrypted in one of the stores is opened with
    its keys and sealed with those of the other. A session appears in the target at once, complete
    and verified: it is written under a name of its own first, which no listing shows; what is left
    of it ends an hour after it was last written. An interrupted copy is run again; what was copied
    before is skipped.

    What does not go: the time that is left, which is counted anew by the target's policy; the
    revision; and pending writes of a checkpoint that was never written.

    Args:
        source: where the sessions are; only read.
        target: where they go.
        sessions: which sessions; None (default) for all.
        replace: whether to replace a session of the target that is not the same.
        on_progress: called with a `Progress` after every checkpoint.

    Returns:
        What was copied, what was there already, and what is too old for the target.

    Raises:
        SessionNotFoundError: a session that was asked for is not there.
        SessionExistsError: the target has another session of that id, and `replace` is False.
        ConflictError: a session was written all the time while it was being copied.
        CorruptSessionError: what is stored is damaged, or is read back as another.
        FormatVersionError: a newer version of this package wrote it.
        ConfigurationError: source and target are one store.
    """
    _check_copy(source, target, sessions)
    copying = Copying(
        source=Unsuspended(source),
        target=Unsuspended(target),
        sessions=sessions,
        replace=replace,
        on_progress=on_progress,
        protections=(protection_of(source), protection_of(target)),
    )
    return run(copying.run())


async def acopy_sessions(
    source: SessionStore,
    target: SessionStore,
    *,
    sessions: Iterable[str] | None = None,
    replace: bool = False,
    on_progress: OnProgress | None = None,
) -> CopyReport:
    """Copy sessions by the awaitable faces of two stores; see `copy_sessions`."""
    _check_copy(source, target, sessions)
    copying = Copying(
        source=source.aio,
        target=target.aio,
        sessions=sessions,
        replace=replace,
        on_progress=on_progress,
        protections=(protection_of(source), protection_of(target)),
    )
    return await copying.run()


async def _import(
    saver: Saver,
    target: Saver,
    threads: Iterable[str] | None,
    *,
    verify: bool,
    on_progress: OnProgress | None,
) -> ImportReport:
    from wren_sessions.transfer._importing import Importing  # loads langgraph

    if isinstance(threads, str):
        raise ConfigurationError(f"threads must be several ids, not one text: [{threads!r}]")
    job = Importing(saver=saver, target=target, verify=verify, on_progress=on_progress)
    return await job.run(threads)


def _check_import(saver: Any, target: Any, taker: str) -> None:
    check_saver(saver, "saver", taker)
    check_saver(target, "target", taker)


def _check_copy(source: SessionStore, target: SessionStore, sessions: Iterable[str] | None) -> None:
    check_store(source, "copy_sessions")
    check_store(target, "copy_sessions")
    if source is target:
        raise ConfigurationError("source and target are the same store; use copy for one session")
    if isinstance(sessions, str):
        raise ConfigurationError(f"sessions must be several ids, not one text: [{sessions!r}]")
