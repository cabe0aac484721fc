"""Moving in: threads from any LangGraph checkpointer, and sessions from other stores.

`import_checkpoints` uses LangGraph's interface, value by value, so it works between any two
checkpointers. `copy_sessions` uses the store protocol. It decodes no values, and needs neither
LangGraph nor the application's classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from wren_sessions._arguments import check_saver
from wren_sessions._blocking import run
from wren_sessions.errors import ConfigurationError
from wren_sessions.protocols import SessionStore
from wren_sessions.transfer._api import StoreApi
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

    It copies all checkpoints of all namespaces, the oldest first, with their ids, parents,
    versions, metadata, values and pending writes. The source is only read. Only one checkpoint is
    in memory at a time. If an import was interrupted, run it again and it continues. If you run it
    again later, it copies what is new.

    Versions stay the same, unless the target could not continue from them. Numbers become text if
    the target uses text, text becomes numbers if it uses numbers, and counters get as many digits
    as the target's.

    If the target has all of a thread, and newer checkpoints, the thread is not changed.

    Args:
        saver: the source: any checkpointer with blocking methods.
        target: a `SessionSaver`, or any other checkpointer (the way back).
        threads: which threads; None (default) for all, for which the source must list all its
            checkpoints. It is no error if one does not exist.
        verify: read each checkpoint back and compare it (default). Checkpoints that the target has
            already are always compared.
        on_progress: called with a `Progress` after every checkpoint.

    Returns:
        For each thread, how many checkpoints were written and how many existed, and its size.

    Raises:
        ConflictError: the target has a different thread with this id; or during the import somebody
            else wrote or deleted it, or it expired.
        SerializationError: a value cannot be stored, or comes back different.
        CorruptSessionError: another part of a checkpoint comes back different.
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
    """Copy threads between async checkpointers; see `import_checkpoints`.

    Raises:
        ConfigurationError: a checkpointer has no async methods. It also raises the errors of
            `import_checkpoints`.
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
    """Copy complete sessions from one store to another.

    It copies records, pending writes, header, creation time, idle timeout, pin, owner and notes. It
    decodes no values, and data that checkpoints share stays shared. Encrypted data is decrypted
    with the source's keys and encrypted with the target's. A session appears in the target at once,
    complete and verified. Until then it has a temporary name, which no listing shows. Leftovers of
    an interrupted copy expire an hour after they were last written. Run an interrupted copy again:
    sessions that are the same in both stores, in all that is copied, are skipped.

    It does not copy the remaining time, which starts again by the target's policy, the revision,
    and pending writes of a checkpoint that was never written.

    Args:
        source: the store to copy from; only read.
        target: the store to copy to.
        sessions: which sessions; None (default) for all.
        replace: whether to replace a different session in the target.
        on_progress: called with a `Progress` after every checkpoint.

    Returns:
        Which sessions were copied, existed already, or are too old for the target.

    Raises:
        SessionNotFoundError: a requested session does not exist.
        SessionExistsError: the target has a different session with that id, and `replace` is False.
        ConflictError: others kept writing a session while it was being copied.
        CorruptSessionError: the stored data is damaged, or comes back different.
        FormatVersionError: a newer version of this package wrote it.
        ConfigurationError: source and target are the same store.
    """
    ends = [StoreApi.blocking(store, "copy_sessions") for store in (source, target)]
    return run(_copy(ends, sessions, replace=replace, on_progress=on_progress))


async def acopy_sessions(
    source: SessionStore,
    target: SessionStore,
    *,
    sessions: Iterable[str] | None = None,
    replace: bool = False,
    on_progress: OnProgress | None = None,
) -> CopyReport:
    """The same as `copy_sessions`, with the async API of both stores."""
    ends = [StoreApi.awaitable(store, "acopy_sessions") for store in (source, target)]
    return await _copy(ends, sessions, replace=replace, on_progress=on_progress)


async def _copy(
    ends: Sequence[StoreApi],
    sessions: Iterable[str] | None,
    *,
    replace: bool,
    on_progress: OnProgress | None,
) -> CopyReport:
    source, target = ends
    if source.place is target.place:
        raise ConfigurationError("source and target are the same store; use copy for one session")
    if isinstance(sessions, str):
        raise ConfigurationError(f"sessions must be several ids, not one text: [{sessions!r}]")
    return await Copying(source, target, sessions, replace, on_progress).run()


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
