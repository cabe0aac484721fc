"""Checks of arguments before a store is asked: ids, numbers and cursors. Pure.

An id that cannot be a name is an `InvalidSessionIdError`; a number or a cursor that cannot be used
is a `ConfigurationError`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain
from typing import Any, Final

from wren_sessions._arguments import check_whole_number
from wren_sessions.errors import ConfigurationError, ConflictError, InvalidSessionIdError
from wren_sessions.keys import (
    MAX_ID_BYTES,
    check_owner,
    check_session,
    decode,
    encode,
    encode_namespace,
    record_field,
)
from wren_sessions.records import Commit, Notes, Prune, Start

_CURSOR: Final = "after:"
_TEXT: Final = frozenset({str})
_MOST: Final = (1 << 31) - 2  # more than a page holds; SQLite and Redis count so far


def _check(value: str) -> None:
    """Refuse what is no part of a name. Most ids are short ASCII: no need to encode them."""
    if type(value) is not str or len(value) > MAX_ID_BYTES or not value.isascii():
        encode(value)


def _check_namespace(namespace: str) -> None:
    if type(namespace) is not str or len(namespace) > MAX_ID_BYTES or not namespace.isascii():
        encode_namespace(namespace)


def _check_session(session: str) -> None:
    plain = type(session) is str and session and len(session) <= MAX_ID_BYTES
    if not (plain and session.isascii()):
        check_session(session)


def _check_name(namespace: str, checkpoint_id: str) -> None:
    if not checkpoint_id:
        record_field(namespace, checkpoint_id)
    _check_namespace(namespace)
    _check(checkpoint_id)


def check_commit(commit: Commit) -> None:
    """Refuse a commit in which an id cannot be a name."""
    _check_session(commit.session)
    if commit.owner is not None:
        check_owner(commit.owner)
    parts = list(chain.from_iterable(commit.witnesses))  # namespace, id, namespace, …
    record, writes = commit.record, commit.writes
    if record is not None:
        parts += record.name
        if record.parent_id:
            parts += record.name[0], record.parent_id
    if writes is not None:
        parts += writes.name
    usual = _TEXT.issuperset(map(type, parts))
    if usual:
        together = "".join(parts)
        usual = len(together) <= MAX_ID_BYTES and together.isascii() and all(parts[1::2])
    if not usual:
        for namespace, checkpoint_id in zip(parts[::2], parts[1::2], strict=True):
            _check_name(namespace, checkpoint_id)


def check_notes(session: str, notes: Notes) -> None:
    """Refuse notes whose session or owner cannot be a name."""
    check_session(session)
    if notes.owner is not None:
        check_owner(notes.owner)


def noted_meanwhile(session: str) -> ConflictError:
    """The error for notes that are not as they were looked at."""
    return ConflictError(
        f"somebody else noted something about session {session!r} just now; nothing was changed: "
        "try again",
        session=session,
    )


def not_theirs(session: str) -> ConflictError:
    """The error for a session that should be an owner's."""
    return ConflictError(
        f"session {session!r} has another owner, or none, and was not deleted", session=session
    )


def check_prune(prune: Prune) -> None:
    """Refuse a prune in which an id cannot be a name."""
    check_session(prune.session)
    for name in (*prune.drop, *prune.heads):
        record_field(*name)


def check_names(session: str, namespace: str, checkpoint_id: str | None) -> None:
    """Refuse ids that cannot be names; no checkpoint id (None) is fine."""
    _check_session(session)
    if checkpoint_id is not None:
        _check_name(namespace, checkpoint_id)
    elif namespace != "":
        _check_namespace(namespace)


def check_scan(session: str, starts: Sequence[Start], limit: int) -> None:
    """Refuse a scan that makes no sense."""
    check_session(session)
    for start in starts:
        encode_namespace(start.namespace)
        encode(start.before or "")
    check_limit(limit)


def check_limit(limit: Any) -> int:
    """The limit of a page, as stores can count it."""
    check_whole_number(limit, "limit", 1)
    return int(min(limit, _MOST))


def make_cursor(session: str) -> str:
    """The cursor of a page that ended with a session."""
    return _CURSOR + encode(session)


def parse_cursor(cursor: Any) -> str:
    """The session a page ended with; empty at the beginning."""
    if cursor is None:
        return ""
    session = _decoded(cursor.removeprefix(_CURSOR)) if isinstance(cursor, str) else ""
    if not session or make_cursor(session) != cursor:
        raise wrong_cursor(cursor, "all sessions in this store")
    return session


def make_owned_cursor(place: str, updated_ms: int, session: str) -> str:
    """The cursor of a page of an owner's sessions that ended with this one.

    Args:
        place: the kind of store, and the owner's key in it. The cursor has only a digest of it.
        updated_ms: when the session was written.
        session: the session.
    """
    name = f"{updated_ms}:{encode(session)}"
    mark = blake2b(f"{place}\n{name}".encode(), digest_size=6).hexdigest()
    return f"{_CURSOR}{name}:{mark}"


def parse_owned_cursor(place: str, cursor: str | None) -> tuple[int, str] | None:
    """When the session that a page ended with was written, and its id; None at the beginning."""
    if cursor is None:
        return None
    found = re.fullmatch(rf"{_CURSOR}(\d{{1,15}}):([^:]+):[0-9a-f]+", str(cursor))
    updated_ms, session = (int(found[1]), _decoded(found[2])) if found else (0, "")
    if not session or make_owned_cursor(place, updated_ms, session) != cursor:
        raise wrong_cursor(cursor, "this owner's sessions in this store")
    return updated_ms, session


def wrong_cursor(cursor: object, listing: str) -> ConfigurationError:
    """The error for a cursor that is not of this listing."""
    return ConfigurationError(
        f"{repr(cursor)[:60]} is not a cursor of a list of {listing}: pass None to begin, then the "
        "cursor of the page before"
    )


def _decoded(name: str) -> str:
    try:
        session = decode(name)
        encode(session)
    except (InvalidSessionIdError, UnicodeDecodeError):
        return ""
    return session
