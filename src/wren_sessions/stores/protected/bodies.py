"""Records, pending writes and notes: sealed on the way in, and opened on the way out. Pure.

Records and pending writes are sealed for the session's uid and for their own names, and notes for
the uid. So nobody can put one in the place of another, or move it to another session. Bodies are
compressed before they are sealed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from wren_sessions.checkpoints.codec import compressed, is_sealed_body, opened_frame, sealed_frame
from wren_sessions.errors import DecryptionError
from wren_sessions.keys import HiddenOwner
from wren_sessions.records import Commit, Notes, Stored, StoredWrite
from wren_sessions.serializers.compression import Compression
from wren_sessions.serializers.keyring import Keyring
from wren_sessions.stores.protected.headers import refuse_plain

_NOTES: Final = "notes"


class Bodies:
    """Seals and opens the bodies of sessions; without a keyring, it only compresses."""

    def __init__(self, keyring: Keyring | None, compression: Compression | None) -> None:
        self._keyring = keyring
        self._compression = compression

    def seal(self, commit: Commit, uid: bytes | None, key: str | None = None) -> Commit:
        """A commit with its bodies compressed, and sealed if the session has a uid.

        They are sealed with an owner's key if its id is given, else with the app's newest key.
        """
        record, writes = commit.record, commit.writes
        if record is not None:
            body = self._sealed("record", uid, record.name, record.body, key)
            record = replace(record, body=body)
        if writes is not None:
            name = writes.name
            entries = tuple(
                replace(entry, body=self._sealed("write", uid, (*name, entry.key), entry.body, key))
                for entry in writes.entries
            )
            writes = replace(writes, entries=entries)
        return replace(commit, record=record, writes=writes)

    def _sealed(
        self,
        purpose: str,
        uid: bytes | None,
        names: tuple[str, ...],
        body: bytes,
        key: str | None,
    ) -> bytes:
        if self._compression is not None:
            body = compressed(body, self._compression)
        if self._keyring is None or uid is None:
            return body
        return sealed_frame(self._keyring.seal(purpose, uid, names, body, key))

    def open(self, session: str, uid: bytes | None, stored: Stored) -> Stored:
        """A record and its pending writes, opened.

        Raises:
            DecryptionError: a body is not encrypted, its key is missing, it was changed, or it
                belongs to another session.
        """
        name = stored.name
        writes = [
            StoredWrite(
                write.key, self._opened("write", session, uid, (*name, write.key), write.body)
            )
            for write in stored.writes
        ]
        body = self._opened("record", session, uid, name, stored.body)
        return replace(stored, body=body, writes=tuple(writes))

    def open_all(
        self, session: str, uid: bytes | None, records: Iterable[Stored]
    ) -> tuple[Stored, ...]:
        """The same for some records of a session."""
        return tuple(self.open(session, uid, stored) for stored in records)

    def _opened(
        self, purpose: str, session: str, uid: bytes | None, names: tuple[str, ...], body: bytes
    ) -> bytes:
        keyring = self._keyring
        assert keyring is not None  # noqa: S101 -- checked by the caller
        what = f"the {purpose} {'/'.join(names)!r}"
        if not is_sealed_body(body):
            if not keyring.encryption.migrate:
                refuse_plain(session, what)
            return body
        try:
            theirs, found = keyring.open(purpose, names, opened_frame(body))
        except DecryptionError as error:
            raise DecryptionError(
                f"{what} of session {session!r}: {error.message}", session=session
            ) from error
        if theirs != uid:
            raise DecryptionError(
                f"{what} of session {session!r} is another session's: somebody moved it; restore "
                "the session from a copy, or delete it",
                session=session,
            )
        return found

    def seal_notes(self, about: bytes, uid: bytes, key: str | None) -> bytes:
        """What is noted about a session, sealed for its uid."""
        assert self._keyring is not None  # noqa: S101 -- checked by the caller
        return self._keyring.seal(_NOTES, uid, (), about, key)

    def open_notes(self, notes: Notes, uid: bytes | None) -> Notes:
        """Notes, opened; empty if they are another session's, or the key is missing."""
        if self._keyring is None:
            return notes
        if notes.owner is not None and self._keyring.encryption.hides_owners:
            notes = notes._replace(owner=HiddenOwner(notes.owner))
        if not notes.about:
            return notes
        try:
            theirs, about = self._keyring.open(_NOTES, (), notes.about)
        except DecryptionError:
            theirs, about = None, b""
        return notes._replace(about=about if theirs is not None and theirs == uid else b"")
