"""The owner, title, tags and attributes of a session.

A store keeps the owner, so that it can list by owner, and the rest as opaque JSON
(`records.Notes`), which an encrypted store encrypts. A change is written only if the notes are
still as they were read. Otherwise they are read again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from wren_sessions._arguments import check_names
from wren_sessions.errors import ConfigurationError, ConflictError, DecryptionError
from wren_sessions.protocols import AsyncOwnerStore, AsyncSessionStore
from wren_sessions.records import Notes, SessionInfo, SessionPage
from wren_sessions.sessions.operations import not_found

MAX_BYTES: Final = 4_096
_ATTEMPTS: Final = 10


def changes_of(
    title: str | None, tags: Sequence[str] | None, attributes: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The changes to the notes. None leaves a value unchanged, and an empty value removes it.

    Raises:
        ConfigurationError: a value cannot be stored.
    """
    if title is not None and not isinstance(title, str):
        raise ConfigurationError(f"title must be text, not {type(title).__name__}")
    if tags is not None:
        check_names(tags, "tags")
        tags = [_tag(tag) for tag in dict.fromkeys(tags)]
    if attributes is not None and not isinstance(attributes, Mapping):
        raise ConfigurationError(f"attributes must be a dict, not {type(attributes).__name__}")
    found = {"title": title, "tags": tags, "attributes": attributes and dict(attributes)}
    return {name: value for name, value in found.items() if value is not None}


def _tag(tag: Any) -> str:
    """A tag, if it is one."""
    if not isinstance(tag, str) or not tag.strip():
        shown = repr(tag) if isinstance(tag, str) else type(tag).__name__
        raise ConfigurationError(f"a tag must be text that is not blank, not {shown}")
    return tag


def _named_by_text(value: Any) -> bool:
    """Whether all names in a value are text, as they are in JSON."""
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and _named_by_text(value[name]) for name in value)
    return not isinstance(value, list | tuple) or all(map(_named_by_text, value))


def _changed(notes: Notes, owner: str | None, changes: Mapping[str, Any]) -> Notes:
    try:
        about = {**json.loads(notes.about or b"{}"), **changes}
    except (ValueError, TypeError):
        raise DecryptionError(
            "the notes of the session cannot be read, and the session was not changed: they are "
            "damaged, or encrypted and this store has no key"
        ) from None
    about = {name: value for name, value in about.items() if value}
    try:
        text = json.dumps(about, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        data = text.encode() if about else b""
        named_by_text = _named_by_text(about)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"title, tags and attributes of a session must be JSON: {error}"
        ) from None
    if not named_by_text:
        raise ConfigurationError("names in the attributes of a session must be text, as in JSON")
    if len(data) > MAX_BYTES:
        raise ConfigurationError(
            f"title, tags and attributes of a session may have {MAX_BYTES} bytes of JSON "
            f"together, and these have {len(data)}. Put more into the session's state"
        )
    return Notes(notes.owner if owner is None else owner or None, data)


async def annotate(
    store: AsyncSessionStore, session: str, owner: str | None, changes: Mapping[str, Any]
) -> SessionInfo:
    """Change the notes of a session; see `Sessions.annotate`."""
    noting: AsyncOwnerStore = store  # type: ignore[assignment] # the caller has looked
    for _ in range(_ATTEMPTS):
        info = await store.info(session)
        if info is None:
            not_found(session)
        notes = _changed(info.notes, owner, changes)
        try:
            life = await noting.annotate(session, notes, info.notes)
        except ConflictError:
            continue
        if life is None:
            not_found(session)
        return replace(info, life=life, notes=notes)
    raise ConflictError(
        f"others noted something about session {session!r} all the time; nothing was changed: try "
        "again",
        session=session,
    )


async def listing(
    store: AsyncSessionStore,
    cursor: str | None,
    limit: int,
    *,
    owner: str | None,
    tag: str | None,
    order: str | None,
) -> SessionPage:
    """One page of sessions; see `Sessions.list`."""
    if order not in (None, "updated"):
        raise ConfigurationError(f"order must be 'updated' or None, not {order!r}")
    if tag is not None:
        _tag(tag)
    if owner is not None:
        noting: AsyncOwnerStore = store  # type: ignore[assignment] # the caller has looked
        page = await noting.list_owned(owner, cursor, limit)
    elif order is None:
        page = await store.list_sessions(cursor, limit)
    else:
        raise ConfigurationError(
            "only an owner's sessions can be listed in order, page by page: pass owner=…, or leave "
            "order out"
        )
    if tag is None:
        return page
    return replace(page, sessions=tuple(info for info in page.sessions if tag in info.tags))
