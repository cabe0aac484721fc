"""Copying a session on the tables. Inside a transaction; reads no clock."""

from __future__ import annotations

import secrets
import sqlite3

from wren_sessions.errors import SessionExistsError, SessionExpiredError
from wren_sessions.records import Life
from wren_sessions.stores._checks import check_unchanged
from wren_sessions.stores.file import sessions
from wren_sessions.stores.file.sessions import Key
from wren_sessions.ttl import TTLPolicy


def copy(
    connection: sqlite3.Connection,
    prefix: str,
    names: tuple[str, str],
    policy: TTLPolicy,
    now_ms: int,
    *,
    replace: bool | Life,
    state: bytes | None,
    expect: Life | None,
) -> Life | None:
    """Copy a session, whole, if source and target are as they are to be; see `SessionStore.copy`.

    Args:
        connection: in a write transaction.
        prefix: that of source and target.
        names: the source and the target.
        policy: how long the copy lives.
        now_ms: the store's clock.
        replace: whether the target may be there, or the life it must have then.
        state: the copy's header; None for the source's.
        expect: the life that the source must have; None for no condition.
    """
    source, target = names
    row = sessions.find(connection, Key(prefix, source), now_ms)
    if row is None:
        return None
    there = sessions.find_any(connection, Key(prefix, target))
    alive = there if there and there.alive(now_ms) else None
    check_unchanged(source, target, expect, row.life(now_ms))
    if isinstance(replace, Life):
        check_unchanged(source, target, replace, alive and alive.life(now_ms))
    if alive and not replace:
        raise _exists(source, target)
    row = row._replace(
        incarnation=secrets.token_hex(8),
        updated_ms=now_ms,
        deadline_ms=row.deadline(policy, now_ms),
    )
    if not row.alive(now_ms):
        raise _too_old(source, policy)
    if there:
        sessions.forget(connection, there.sid)
    sessions.copy(connection, row, target, state)
    return row.life(now_ms)


def _exists(source: str, target: str) -> SessionExistsError:
    return SessionExistsError(
        f"cannot copy session {source!r}: {target!r} is there already; delete it first, or pass "
        "replace=True",
        session=target,
    )


def _too_old(source: str, policy: TTLPolicy) -> SessionExpiredError:
    return SessionExpiredError(
        f"cannot copy session {source!r}: it is older than the maximum age of this store "
        f"({policy}). Pin it to keep it, or raise the maximum age",
        session=source,
    )
