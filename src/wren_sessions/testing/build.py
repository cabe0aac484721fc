"""Short functions for tests: build commits, and read their results."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from wren_sessions.keys import write_key
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import (
    ArenaParts,
    Commit,
    Committed,
    Life,
    Loaded,
    Name,
    Prune,
    Record,
    Seen,
    SessionInfo,
    Span,
    Start,
    Stored,
    Write,
    Writes,
)

SESSION = "cli_20251108_145739"
"""The session that is meant where none is named."""

MANY = 10_000
_MOST_PAGES = 10_000


def commit(session: str = SESSION, *, token: str | None = None, **parts: Any) -> Commit:
    """A commit with a token of its own, unless one is given."""
    return Commit(session=session, token=token or secrets.token_hex(8), **parts)


def put(
    checkpoint_id: str,
    *,
    ns: str = "",
    parent: str | None = None,
    body: bytes = b"body",
    append: bytes = b"",
    spans: tuple[Span, ...] = (),
    **parts: Any,
) -> Commit:
    """A commit of one record; `parts` are those of `commit`."""
    record = Record(
        name=(ns, checkpoint_id), parent_id=parent, body=body, append=append, spans=spans
    )
    return commit(record=record, **parts)


def write(task: str, index: int, body: bytes, *, replaces: bool = False) -> Write:
    """One pending write."""
    return Write(key=write_key(task, index), body=body, replace=replaces)


def add(
    checkpoint_id: str,
    *entries: Write,
    ns: str = "",
    spans: tuple[Span, ...] = (),
    **parts: Any,
) -> Commit:
    """A commit of pending writes; `parts` are those of `commit`."""
    return commit(writes=Writes(name=(ns, checkpoint_id), entries=entries, spans=spans), **parts)


def prune(life: Life | None, *names: Name, session: str = SESSION, **parts: Any) -> Prune:
    """A prune of records from a session as it was then; `parts` are those of `Prune`."""
    assert life is not None
    return Prune(
        session=session,
        incarnation=life.incarnation,
        revision=life.revision,
        drop=names,
        **parts,
    )


async def done(face: AsyncSessionStore, what: Commit) -> Committed:
    """Commit, and make sure that it was done."""
    committed = await face.commit(what)
    assert committed.outcome == "done"
    assert committed.life is not None
    return committed


async def loaded(
    face: AsyncSessionStore,
    checkpoint_id: str | None = None,
    *,
    ns: str = "",
    session: str = SESSION,
) -> Loaded:
    """Load a checkpoint that is there."""
    found = await face.load(session, ns, checkpoint_id)
    assert found is not None
    return found


async def head(face: AsyncSessionStore, ns: str = "", session: str = SESSION) -> str:
    """The id of a namespace's head, which is there."""
    return (await loaded(face, ns=ns, session=session)).stored.name[1]


async def namespaces(face: AsyncSessionStore, session: str = SESSION) -> tuple[str, ...]:
    """The namespaces that have checkpoints, in order."""
    return tuple(namespace for namespace, _ in await face.heads(session))


async def pending(
    face: AsyncSessionStore, checkpoint_id: str, *, ns: str = "", session: str = SESSION
) -> dict[str, bytes]:
    """The pending writes of a checkpoint that is there, by key."""
    stored = (await loaded(face, checkpoint_id, ns=ns, session=session)).stored
    writes = {entry.key: entry.body for entry in stored.writes}
    assert len(writes) == len(stored.writes)
    return writes


async def arena(face: AsyncSessionStore, found: Loaded, session: str = SESSION) -> ArenaParts:
    """The arena of what was loaded; read now, where it did not come along."""
    parts = found.arena or await face.read(session, found.stored.spans)
    assert parts is not None
    return parts


async def appended(
    face: AsyncSessionStore, checkpoint_id: str, length: int, *, session: str = SESSION
) -> bytes | None:
    """The bytes that a checkpoint brought itself."""
    found = await loaded(face, checkpoint_id, session=session)
    return (await arena(face, found, session)).get(Span(found.stored.base, length))


async def info(face: AsyncSessionStore, session: str = SESSION) -> SessionInfo:
    """What is known of a session that is there, as if the clock stood still."""
    found = await face.info(session)
    assert found is not None
    return replace(found, life=replace(found.life, now_ms=0))


async def seen(face: AsyncSessionStore, session: str = SESSION) -> Seen:
    """A session as it is now: the condition that nothing of it changes."""
    found = await info(face, session)
    return Seen.of(found.life, found.idle, found.notes)


async def scan_ids(face: AsyncSessionStore, *starts: Start, session: str = SESSION) -> list[str]:
    """The ids of a scan; of the root namespace, if no start is given."""
    page = await face.scan(session, starts or [Start("")], MANY)
    return [stored.name[1] for stored in page.records]


async def scan_pages(
    face: AsyncSessionStore, starts: Sequence[Start], limit: int
) -> list[tuple[Stored, ...]]:
    """All pages of a scan."""
    pages: list[tuple[Stored, ...]] = []
    while starts:
        assert len(pages) < _MOST_PAGES, "the scan does not come to an end"
        page = await face.scan(SESSION, starts, limit)
        pages.append(page.records)
        starts = page.rest
    return pages


async def listed(face: AsyncSessionStore, limit: int = 100) -> dict[str, SessionInfo]:
    """All sessions of a store, page by page, by id."""
    found: dict[str, SessionInfo] = {}
    cursor = None
    for _ in range(_MOST_PAGES):
        page = await face.list_sessions(cursor, limit)
        assert page.foreign == 0
        found |= {entry.session: entry for entry in page.sessions}
        cursor = page.cursor
        if cursor is None:
            return found
    raise AssertionError("the listing does not come to an end")
