"""The header of an encrypted session: a part that anyone can read, and an encrypted part. Pure.

The header ties the data of a session together. It is sealed for the session's name. It has the uid
that every record of the session is sealed with, and the id and a digest of the latest checkpoint.
So nobody can replace the right data with another session's data, or with an older checkpoint::

    {"checkpoint": {}, "metadata": {"timestamp": …}, "config": {},
     "encryption": {"key": "k1", "sealed": "…base64…"}}
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass, replace
from typing import Any, Final

import msgpack

from wren_sessions.delta.extents import digest
from wren_sessions.errors import CorruptSessionError, DecryptionError
from wren_sessions.records import Stored
from wren_sessions.serializers.keyring import Keyring, is_owner_key, key_id_of

_READABLE: Final = ("timestamp", "version", "checkpoint_id", "step", "source")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A session's header.

    Attributes:
        state: the header as it is without encryption, as JSON.
        uid: the uid that the session's records are sealed with; None if it is not encrypted.
        head: the id of the root namespace's latest checkpoint; None before the first one.
        digest: the digest of that checkpoint's record; empty if it was not known.
        owner_key: the id of the owner's key that the session is sealed with; None for the app's
            newest key.
    """

    state: bytes
    uid: bytes | None
    head: str | None = None
    digest: bytes = b""
    owner_key: str | None = None

    def naming(self, stored: Stored | None) -> Header:
        """It with a checkpoint as the latest; None for no checkpoint."""
        if stored is None:
            return replace(self, head=None, digest=b"")
        return replace(self, head=stored.name[1], digest=digest(stored.body))


def seal(keyring: Keyring, session: str, header: Header) -> bytes:
    """The header as it is stored."""
    assert header.uid is not None  # noqa: S101 -- nobody seals for no session
    inner: bytes = msgpack.packb([header.state, header.head, header.digest])
    sealed = keyring.seal("header", header.uid, (session,), inner, header.owner_key)
    about = _fields(header.state).get("metadata", {})
    readable = {name: about[name] for name in _READABLE if name in about}
    return json.dumps(
        {
            "checkpoint": {},
            "metadata": readable,
            "config": {},
            "encryption": {
                "key": header.owner_key or keyring.encryption.newest,
                "sealed": b64encode(sealed).decode(),
            },
        },
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode("utf-8", "replace")


def read(keyring: Keyring, session: str, state: bytes) -> Header:
    """Read a stored header.

    Raises:
        DecryptionError: it is not encrypted, its key is missing, it was changed, or it belongs to
            another session.
    """
    sealed = _sealed(state)
    if sealed is None:
        if not keyring.encryption.migrate:
            refuse_plain(session, "the header")
        return Header(state=state, uid=None, head=head_of(state))
    try:
        uid, inner = keyring.open("header", (session,), sealed)
    except DecryptionError as error:
        raise DecryptionError(
            f"the header of session {session!r}: {error.message}", session=session
        ) from error
    found, head, digest = msgpack.unpackb(inner)
    owner_key = key if is_owner_key(key := key_id_of(sealed)) else None
    return Header(state=found, uid=uid, head=head, digest=digest, owner_key=owner_key)


def key_id(state: bytes) -> str | None:
    """The id of the key that a stored header was sealed with; None if it is not encrypted."""
    sealed = _sealed(state)
    return None if sealed is None else key_id_of(sealed)


def refuse_plain(session: str, what: str) -> None:
    """Raise the error for data that should be encrypted and is not."""
    raise DecryptionError(
        f"{what} of session {session!r} is not encrypted, and this store reads only what is: if "
        "the session is from before encryption was turned on, open the store with "
        "Encryption(…, migrate=True) and rewrite it; if not, somebody planted it",
        session=session,
    )


def head_of(state: bytes) -> str | None:
    """The checkpoint that a plain header describes."""
    found = _fields(state).get("metadata", {}).get("checkpoint_id")
    return found if isinstance(found, str) else None


def _fields(state: bytes) -> dict[str, Any]:
    try:
        found = json.loads(state or b"{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("metadata", {}), dict) else {}


def _sealed(state: bytes) -> bytes | None:
    about = _fields(state).get("encryption")
    text = about.get("sealed") if isinstance(about, dict) else None
    if not isinstance(text, str):
        return None
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return b""  # damaged: no key opens it


def check_head(session: str, header: Header, stored: Stored) -> None:
    """Check that the latest checkpoint is the one that the header names."""
    if header.uid is None:
        return
    same = not header.digest or header.digest == digest(stored.body)
    if header.head != stored.name[1] or not same:
        raise CorruptSessionError(
            f"the latest checkpoint of session {session!r} is not the one that its header names "
            f"({stored.name[1]!r}, not {header.head!r}): somebody put an older one in its place; "
            "restore the session from a copy, or delete it",
            session=session,
        )
