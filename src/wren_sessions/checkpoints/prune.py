"""Deleting checkpoints, and freeing the space that only they used.

A prune looks at every record of a session and decides which can go. Then the store deletes them in
one atomic step, together with the parts of the arena that no remaining record refers to. If
somebody has written the session in between, the store refuses, and the prune starts again. So it
never deletes what a new checkpoint builds on.

A prune never deletes the latest checkpoint of a namespace, nor its pending writes (such as an
interrupt that waits for an answer). It also keeps what a channel with a history needs: the
ancestors back to the one that stores its value. The namespace of a single task goes together with
the checkpoint of the root namespace that ran the task.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, Final, TypeAlias

from wren_sessions._walks import RecordWalk, aall_sessions
from wren_sessions.checkpoints.codec import CheckpointRecord, record_of
from wren_sessions.checkpoints.order import in_order
from wren_sessions.checkpoints.put import empty_header, header
from wren_sessions.checkpoints.record_cache import Cache
from wren_sessions.checkpoints.renaming import COUNTERS, about_today, to_today
from wren_sessions.checkpoints.snapshots import load_about, reading
from wren_sessions.delta.encoder import Serializer
from wren_sessions.errors import (
    ConfigurationError,
    ConflictError,
    SessionExistsError,
    WrenSessionsError,
)
from wren_sessions.protocols import AsyncOwnerStore, AsyncSessionStore
from wren_sessions.records import (
    Life,
    Name,
    Prune,
    Span,
    Start,
    Stored,
    merge_spans,
)
from wren_sessions.serializers._channels import channels_of

logger: Final = logging.getLogger("wren_sessions")

PAGE: Final = 200
ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class Retention:
    """How many checkpoints of a session to keep while writing it.

    Pruning runs periodically, so the cost of a step does not depend on the length of the session.
    In between there can be up to twice as many.

    Args:
        keep_last: how many of each namespace to keep, at least 1.

    Raises:
        ConfigurationError: `keep_last` is not a whole number of at least 1.
    """

    keep_last: int

    def __post_init__(self) -> None:
        _check_count(self.keep_last)


@dataclass(slots=True)
class Entry:
    """A record as a prune looks at it."""

    name: Name
    body: CheckpointRecord
    rest: Mapping[str, Any]
    metadata: Mapping[str, Any]
    spans: tuple[Span, ...]

    @property
    def parent(self) -> Name | None:
        """The record that it continues."""
        return None if self.body.parent_id is None else (self.name[0], self.body.parent_id)

    @property
    def unstored(self) -> set[str]:
        """The channels whose value lives in the writes since an ancestor that stores it."""
        counters = self.metadata.get(COUNTERS) or {}
        return {channel for channel in counters if channel not in self.body.values}


@dataclass(slots=True)
class Survey:
    """All records of a session at one revision, and its heads."""

    incarnation: str
    revision: int
    entries: dict[Name, Entry]
    heads: dict[str, str]

    def bodies(self, namespace: str) -> dict[str, CheckpointRecord]:
        """What the checkpoints of a namespace say, by id."""
        return {
            id_: entry.body for (space, id_), entry in self.entries.items() if space == namespace
        }

    def heads_without(self, drop: Collection[Name]) -> dict[str, str]:
        """The new heads of namespaces that lose theirs, and not all of their checkpoints."""
        found: dict[str, str] = {}
        for namespace, head in self.heads.items():
            if (namespace, head) in drop:
                ids = in_order(head, self.bodies(namespace))
                left = next((id_ for id_ in ids if (namespace, id_) not in drop), None)
                if left is not None:
                    found[namespace] = left
        return found


Choice: TypeAlias = Callable[[Survey], set[Name]]
"""Which records may be dropped."""


class Pruning:
    """Prunes of the sessions of one store."""

    def __init__(self, store: AsyncSessionStore, cache: Cache) -> None:
        self._store = store
        self._cache = cache
        self._retaining: set[str] = set()

    async def prune(
        self, session: str, choose: Choice, serde: Serializer, *, latest: str | None = None
    ) -> int:
        """Drop what is chosen; a session that is not there is no error.

        `latest` becomes the latest checkpoint of the root namespace; None for the first one that is
        left in the order of `order`.

        Returns:
            How many records were dropped.

        Raises:
            ConflictError: the session was written all the time, and nothing was dropped.
        """
        for _ in range(ATTEMPTS):
            survey = await self._survey(session, serde)
            if survey is None:
                return 0
            drop = choose(survey)
            if not drop and latest in {None, survey.heads.get("")}:
                return 0
            heads = survey.heads_without(drop) | ({} if latest is None else {"": latest})
            done = await self._store.prune(_prune(session, survey, drop, heads))
            self._cache.forget(session)
            if done.outcome == "done":
                return len(drop)
        raise _busy(session)

    async def prune_all(self, choose: Choice, serde: Serializer) -> int:
        """The same for every session of the store, page by page; errors as `prune`."""
        dropped = 0
        async for info in aall_sessions(self._store):
            dropped += await self.prune(info.session, choose, serde)
        return dropped

    async def retain(self, session: str, keep_last: int, serde: Serializer) -> None:
        """Count a step, and prune when there have been as many as are kept.

        A step that was written is never failed by this: what goes wrong is logged, and the prune
        is tried again with one of the next steps. So it is if another step prunes the session just
        now: those that run side by side would keep each other from it.
        """
        if self._cache.count(session) < keep_last or session in self._retaining:
            return
        try:
            self._retaining.add(session)
            self._cache.count(session, begin=True)
            await self.prune(session, all_but_last(keep_last, tasks=True), serde)
        except WrenSessionsError as error:
            logger.warning("session %r was not pruned: %s", session, error)
        finally:
            self._retaining.discard(session)

    async def delete(self, session: str, owner: str | None = None) -> bool:
        """Delete a session, if it is this owner's; False if it was not there.

        Raises:
            ConflictError: it is somebody else's. It stays, with what waits for its checkpoints.
        """
        if owner is None:
            self._cache.absent(session, deleted=True)
            return await self._store.delete(session)
        knowing: AsyncOwnerStore = self._store  # type: ignore[assignment] # the caller has looked
        done = await knowing.delete_owned(session, owner)
        self._cache.absent(session, deleted=True)
        return done

    async def copy(self, source: str, target: str) -> Life | None:
        """Copy a session, whole, to an id that is free; None if it is not there."""
        try:
            life = await self._store.copy(source, target)
        except SessionExistsError:  # what the store says of `replace` is not for callers of this
            raise SessionExistsError(
                f"cannot copy session {source!r}: {target!r} is there already; choose another id, "
                "or delete it first",
                session=target,
            ) from None
        return life

    async def _survey(self, session: str, serde: Serializer) -> Survey | None:
        # The life comes with the first look: whatever is written after it is a conflict.
        first = await self._store.scan(session, [Start("")], PAGE)
        if first.life is None:
            return None
        heads = await self._store.heads(session)
        records = list(first.records)
        rest = (*first.rest, *(Start(namespace) for namespace, _ in heads if namespace))
        walk = RecordWalk(partial(self._store.scan, session), rest, PAGE)
        while (page := await walk.next_page()) is not None:
            records += page.records
        return Survey(
            incarnation=first.life.incarnation,
            revision=first.life.revision,
            entries={stored.name: _entry(session, stored, serde) for stored in records},
            heads=dict(heads),
        )


def _entry(session: str, stored: Stored, serde: Serializer) -> Entry:
    what = f"checkpoint {stored.name[1]!r}"
    with reading(session, stored, serde=serde):
        body = record_of(session, stored)
        rest, metadata = load_about(serde, body.meta, f"{what} of session {session!r}")
        channels = channels_of(serde, stored.name[0])
        if channels is not None:
            to_today(body, channels)
            about_today(rest, metadata, channels)
    return Entry(stored.name, body, rest, metadata, stored.spans)


def _prune(session: str, survey: Survey, drop: Collection[Name], heads: Mapping[str, str]) -> Prune:
    head, state = heads.get(""), None
    # The header tells which checkpoint is the latest now. Its numbers come back with the next one:
    # they are in the values, which a prune does not read.
    if head is not None:
        state = header(survey.entries["", head], {})
    elif ("", survey.heads.get("")) in drop:
        state = empty_header("")
    kept = (entry for name, entry in survey.entries.items() if name not in drop)
    dropped = (survey.entries[name] for name in drop)
    return Prune(
        session=session,
        incarnation=survey.incarnation,
        revision=survey.revision,
        drop=tuple(sorted(drop)),
        keep=merge_spans(span for entry in kept for span in entry.spans),
        free=merge_spans(span for entry in dropped for span in entry.spans),
        heads=tuple(heads.items()),
        state=state,
    )


def _busy(session: str) -> ConflictError:
    return ConflictError(
        f"session {session!r} was not pruned, because others kept writing it; nothing was "
        "deleted: try again when it is less busy",
        session=session,
    )


# --- what to drop ---------------------------------------------------------------------------------


def choice_of(strategy: str, keep_last: int | None) -> Choice | None:
    """What a strategy drops; None for everything.

    Raises:
        ConfigurationError: there is no such strategy, or `keep_last` does not go with it.
    """
    if strategy == "delete_all":  # as the Agent Server calls it
        strategy = "delete"
    if strategy not in ("keep_latest", "delete", "keep_last"):
        raise ConfigurationError(
            f"{strategy!r} is not a strategy of prune: use 'keep_latest', 'keep_last' or 'delete'"
        )
    if keep_last is not None and strategy == "delete":
        raise ConfigurationError("keep_last does not go with the strategy 'delete'")
    if strategy == "delete":
        return None
    if keep_last is None and strategy == "keep_latest":
        return all_but_last(1, tasks=False)
    return all_but_last(_check_count(keep_last), tasks=True)


def _check_count(count: object) -> int:
    if type(count) is not int or count < 1:
        raise ConfigurationError(f"keep_last must be a whole number of at least 1, not {count!r}")
    return count


def all_but_last(count: int, *, tasks: bool) -> Choice:
    """All but the last `count` of each namespace, and what those need.

    Args:
        count: how many to keep, at least 1.
        tasks: whether the namespaces of single tasks go with the checkpoint that ran them.
    """

    def choose(survey: Survey) -> set[Name]:
        keep: set[Name] = set()
        for namespace, head in survey.heads.items():
            ids = in_order(head, survey.bodies(namespace))
            keep |= {(namespace, id_) for id_ in islice(ids, count)}
        if tasks:
            roots = {id_ for namespace, id_ in keep if namespace == ""}
            keep = {name for name in keep if _belongs(survey, name, roots)}
        return survey.entries.keys() - _with_history(survey, keep)

    return choose


def of_runs(run_ids: Collection[str]) -> Choice:
    """The checkpoints that these runs made."""
    runs = frozenset(run_ids)
    return lambda survey: {
        name for name, entry in survey.entries.items() if entry.metadata.get("run_id") in runs
    }


def _belongs(survey: Survey, name: Name, roots: Collection[str]) -> bool:
    """Whether a record is of a namespace that outlives its task, or of a task that is kept.

    A task's checkpoints may be stored before the one that ran it. That one is on its way, unless it
    would be earlier than all that are kept.
    """
    namespace, head = name[0], survey.heads.get(name[0])
    if ":" not in namespace or head is None or (namespace, head) not in survey.entries:
        return True
    parents = survey.entries[namespace, head].metadata.get("parents") or {}
    root = parents.get("")
    if root is None or root in roots:
        return True
    return ("", root) not in survey.entries and root > min(roots, default="")


def _with_history(survey: Survey, keep: Collection[Name]) -> set[Name]:
    """Records with the ancestors that hold the history of their channels."""
    found = set(keep)
    for name in keep:
        entry = survey.entries.get(name)
        missing = entry.unstored if entry else set()
        line = {name}
        while entry is not None and missing and entry.parent is not None:
            if entry.parent in line:
                break  # a ring: what is missing is nowhere
            entry = survey.entries.get(entry.parent)
            if entry is not None:
                found.add(entry.name)
                line.add(entry.name)
                missing = missing - entry.body.values.keys()
    return found
