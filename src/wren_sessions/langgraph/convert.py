"""LangGraph's types from and to ours: configs, checkpoints, tuples and versions. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import repeat
from typing import Any, Final
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer

from wren_sessions._blocking import LRU, Lock
from wren_sessions.checkpoints.codec import metadata_of
from wren_sessions.checkpoints.delta_channels import History
from wren_sessions.checkpoints.put import Put
from wren_sessions.checkpoints.snapshots import Snapshot
from wren_sessions.checkpoints.versions import NUMBERS, TEXT, Counter, Version
from wren_sessions.errors import ConfigurationError, InvalidSessionIdError

MAX_KINDS: Final = 10_000
_RUNTIME: Final = "__pregel_runtime"
_OWN_FIELDS: Final = ("id", "channel_values", "channel_versions", "versions_seen")
_TEXTS: Final = repeat(str)


def thread_of(config: RunnableConfig) -> Any:
    """The thread that a config names, as the application gave it.

    Raises:
        ConfigurationError: it names none.
    """
    try:
        return config["configurable"]["thread_id"]
    except KeyError:
        raise ConfigurationError(
            "the config names no thread: pass {'configurable': {'thread_id': '…'}}"
        ) from None


def session_of(thread_id: Any) -> str:
    """A thread's session.

    Raises:
        InvalidSessionIdError: the thread is no text, UUID or integer.
    """
    if isinstance(thread_id, str):
        return thread_id
    if isinstance(thread_id, UUID) or type(thread_id) is int:
        return str(thread_id)  # applications pass these too
    raise InvalidSessionIdError(
        f"a thread_id must be a string, not {type(thread_id).__name__}: {thread_id!r}",
        value=thread_id,
    )


def several(ids: Collection[str], what: str) -> list[str]:
    """Ids as a list.

    Raises:
        TypeError: they are one text, whose characters nobody means, or no collection.
    """
    if isinstance(ids, str | bytes):
        raise TypeError(f"pass a list of {what}, not one text: [{ids!r}]")
    return list(ids)


def names_of(config: RunnableConfig) -> tuple[str, str, str | None]:
    """The session, namespace and checkpoint that a config names."""
    try:
        configurable = config["configurable"]
        thread = configurable["thread_id"]
    except KeyError:
        thread_of(config)  # says what is missing
        raise
    session = thread if isinstance(thread, str) else session_of(thread)
    named = configurable.get
    return session, named("checkpoint_ns") or "", named("checkpoint_id") or None


def run_of(config: RunnableConfig) -> object:
    """What all calls of a run have, and no other run has, as far as it is known; None for nothing.

    That is LangGraph's runtime. The metadata, for versions without one, are no run's own where an
    app passes the same config to several: LangGraph 1.0 hands its dict on as it is.
    """
    return config["configurable"].get(_RUNTIME) or config.get("metadata")


def config_for(thread_id: Any, namespace: str, checkpoint_id: str) -> RunnableConfig:
    """The config of a checkpoint."""
    return {
        "configurable": {
            "thread_id": thread_id,
            "checkpoint_ns": namespace,
            "checkpoint_id": checkpoint_id,
        }
    }


def named_by(config: RunnableConfig, found: CheckpointTuple) -> CheckpointTuple:
    """A checkpoint that a config named by its id: all else that the config holds stays with it."""
    full = {**config["configurable"], **found.config["configurable"]}
    return found._replace(config={**config, "configurable": full})


def put_of(
    config: RunnableConfig,
    checkpoint: Checkpoint,
    metadata: CheckpointMetadata,
    new_versions: ChannelVersions,
) -> Put:
    """What to write."""
    session, namespace, parent_id = names_of(config)
    rest: dict[str, Any] = dict(checkpoint)
    for field in _OWN_FIELDS:
        rest.pop(field, None)
    parents = metadata.get("parents")
    return Put(
        session,
        (namespace, checkpoint["id"]),
        None if parent_id is None else (namespace, parent_id),
        checkpoint["channel_values"],
        checkpoint["channel_versions"],
        checkpoint["versions_seen"],
        rest,
        metadata_of(get_checkpoint_metadata(config, metadata)),
        new_versions.keys(),
        tuple(parents.items()) if parents else (),
    )


def owner_of(config: RunnableConfig, owner_key: str) -> str | None:
    """Whose the session is that a config is about; None where it does not say.

    Raises:
        ConfigurationError: what it says is no text, UUID or integer.
    """
    found = config["configurable"].get(owner_key)
    if found is None or isinstance(found, str):
        return found or None
    if isinstance(found, UUID) or type(found) is int:
        return str(found)
    raise ConfigurationError(
        f"the owner, {owner_key!r} in the config, must be a string, not {type(found).__name__}"
    )


def tuple_of(thread_id: Any, found: Snapshot, counter: Counter | None) -> CheckpointTuple:
    """A checkpoint as LangGraph wants it.

    Args:
        thread_id: its thread, as the application gave it.
        found: the checkpoint.
        counter: the kind of versions that its saver makes; None for what is stored.
    """
    namespace, checkpoint_id = found.name
    versions, seen = found.versions, found.seen
    if counter is not None:
        versions = counter.versions(versions)
        seen = {node: counter.versions(own) for node, own in seen.items()}
    checkpoint = {
        **found.rest,
        "id": checkpoint_id,
        "channel_values": found.values,
        "channel_versions": versions,
        "versions_seen": seen,
    }
    parent = found.parent_id
    return CheckpointTuple(
        config=config_for(thread_id, namespace, checkpoint_id),
        checkpoint=checkpoint,  # type: ignore[arg-type] # put together again from its parts
        metadata=metadata_of(found.metadata),  # type: ignore[arg-type] # as it was put
        parent_config=config_for(thread_id, namespace, parent) if parent else None,
        pending_writes=found.writes,
    )


def history_of(history: History) -> dict[str, Any]:
    """A channel's history as LangGraph wants it: its seed only where there is one."""
    found: dict[str, Any] = {"writes": history.writes}
    if history.seed:
        found["seed"] = history.seed[0]
    return found


def widened(
    serde: SerializerProtocol, extra: Collection[tuple[str, ...]]
) -> SerializerProtocol | None:
    """A serializer that allows further types, also within one that encrypts; None if it cannot."""
    if isinstance(serde, EncryptedSerializer):
        inner = widened(serde.serde, extra)
        if inner is None or inner is serde.serde:
            return serde if inner is not None else None
        return EncryptedSerializer(serde.cipher, inner)
    widen = getattr(serde, "with_msgpack_allowlist", None)
    return None if widen is None else widen(extra)


class Kinds:
    """The kind of versions in which each thread is counted here. Thread-safe.

    A thread is known by its session and namespace. Of more than `MAX_KINDS` threads, the kind that
    was found first is forgotten, and found again: to look one up takes no lock.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._found: LRU[tuple[str, str], Counter] = LRU(MAX_KINDS)

    def wrote(self, thread: tuple[str, str], versions: Mapping[str, Version]) -> None:
        """Whoever counts put these versions: that is the kind from now on."""
        kind = TEXT if any(map(isinstance, versions.values(), _TEXTS)) else NUMBERS
        if versions and self._found.get(thread) is not kind:  # hardly ever
            with self._lock:
                self._found.keep(thread, kind)

    def read(self, thread: tuple[str, str], versions: Mapping[str, Version]) -> Counter | None:
        """These versions were read; gives the kind to turn them into, None if they are of it."""
        if not versions:
            return None
        kind = TEXT if any(map(isinstance, versions.values(), _TEXTS)) else NUMBERS
        kept = self._found.get(thread)
        if kept is None:
            with self._lock:
                kept = self._found.get(thread) or kind
                self._found.keep(thread, kept)
        return None if kept is kind else kept
