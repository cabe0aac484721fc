"""Wraps any store, and encrypts its sessions, compresses them, or both.

`open_store(…, encryption=…, compression=…)` creates one. Everything is sealed before it goes to the
store below. Records, pending writes and headers are sealed here. The parts of long values are
sealed by the code that uses the store, with its `protection`. The store below sees bytes, names and
times. Its behaviour stays the same: one round trip per call, expiry, atomicity. There is one more
call when a process first writes to a session that it has not seen: it asks for the header first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wren_sessions._arguments import check_store
from wren_sessions._blocking import Unsuspended, run
from wren_sessions.delta.protection import Protection
from wren_sessions.errors import ConfigurationError
from wren_sessions.keys import KeySpace
from wren_sessions.protocols import AsyncSessionStore, SessionStore, knowing_owners
from wren_sessions.records import (
    ArenaParts,
    Commit,
    Committed,
    Held,
    Life,
    Loaded,
    Name,
    Notes,
    Prune,
    Scanned,
    SessionInfo,
    SessionPage,
    Span,
    Start,
)
from wren_sessions.serializers.compression import Compression
from wren_sessions.serializers.encryption import Encryption
from wren_sessions.serializers.keyring import Keyring
from wren_sessions.stores._closing import Closing
from wren_sessions.stores.protected.owner_keys import OwnerKeys, check_place
from wren_sessions.stores.protected.sealing import AsyncProtectedStore
from wren_sessions.ttl import Duration, TTLPolicy


class ProtectedStore(Closing):
    """A `SessionStore` that wraps another one.

    Args:
        store: the store below.
        encryption: the keys; None for no encryption.
        compression: how to compress; None for no compression.
        owner_keys: a store for the keys of owners; it is closed with this one. The sessions of an
            owner are then encrypted with the owner's key. Once the key is destroyed
            (`wren_sessions.erase_owner`), neither the sessions nor their backups can be read. With
            None (default), the keys of `encryption` are used for all sessions.

    Raises:
        ConfigurationError: `owner_keys` cannot keep the keys of owners, or there is no `encryption`
            to encrypt them with.

    Attributes:
        protection: how to encrypt and compress the values that are kept here.
        owner_keys: the keys of owners, with async methods; None if they have none.
        unprotected: the store below.
    """

    def __init__(
        self,
        store: SessionStore,
        *,
        encryption: Encryption | None = None,
        compression: Compression | None = None,
        owner_keys: SessionStore | None = None,
    ) -> None:
        check_store(store, type(self).__name__)
        blocking = awaited = None
        keyring = None if encryption is None else Keyring(encryption)
        if owner_keys is not None:
            keyring = _for_owners(store, encryption, owner_keys)
            blocking = OwnerKeys(Unsuspended(owner_keys), keyring, owner_keys)
            awaited = OwnerKeys(owner_keys.aio, keyring, owner_keys)
        self.protection: Protection = Protection(keyring, compression)
        self.unprotected: SessionStore = store
        self._store = store
        self.owner_keys: OwnerKeys | None = blocking
        self._sealing = AsyncProtectedStore(Unsuspended(store), keyring, compression, blocking)
        self.aio: AsyncSessionStore = self._sealing.over(store.aio, awaited)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)  # optional abilities of a store

    def __repr__(self) -> str:
        kinds = (self.protection.encryption, self.protection.compression)
        return f"<{self._store!r}, protected by {', '.join(map(repr, filter(None, kinds)))}>"

    @property
    def ttl(self) -> TTLPolicy:
        """How long sessions live."""
        return self._store.ttl

    @property
    def keys(self) -> KeySpace:
        """How sessions are named."""
        return self._store.keys

    @property
    def location(self) -> str:
        """Where the sessions are, for people."""
        return self._store.location

    @property
    def persistent(self) -> bool:
        """Whether the sessions outlive this process."""
        return self._store.persistent

    def commit(self, commit: Commit) -> Committed:
        """See `SessionStore.commit`."""
        return run(self._sealing.commit(commit))

    def prune(self, prune: Prune) -> Committed:
        """See `SessionStore.prune`."""
        return run(self._sealing.prune(prune))

    def load(
        self,
        session: str,
        namespace: str = "",
        checkpoint_id: str | None = None,
        held: Held | None = None,
    ) -> Loaded | None:
        """See `SessionStore.load`."""
        return run(self._sealing.load(session, namespace, checkpoint_id, held))

    def scan(self, session: str, starts: Sequence[Start], limit: int) -> Scanned:
        """See `SessionStore.scan`."""
        return run(self._sealing.scan(session, starts, limit))

    def read(self, session: str, spans: Sequence[Span]) -> ArenaParts | None:
        """See `SessionStore.read`."""
        return self._store.read(session, spans)

    def heads(self, session: str) -> tuple[Name, ...]:
        """See `SessionStore.heads`."""
        return self._store.heads(session)

    def info(self, session: str) -> SessionInfo | None:
        """See `SessionStore.info`."""
        return run(self._sealing.info(session))

    def list_sessions(self, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """See `SessionStore.list_sessions`."""
        return run(self._sealing.list_sessions(cursor, limit))

    def touch(self, session: str) -> Life | None:
        """See `SessionStore.touch`."""
        return self._store.touch(session)

    def set_ttl(self, session: str, idle: Duration | None) -> Life | None:
        """See `SessionStore.set_ttl`."""
        return self._store.set_ttl(session, idle)

    def pin(self, session: str, *, pinned: bool = True) -> Life | None:
        """See `SessionStore.pin`."""
        return self._store.pin(session, pinned=pinned)

    def delete(self, session: str) -> bool:
        """See `SessionStore.delete`."""
        return run(self._sealing.delete(session))

    def delete_owned(self, session: str, owner: str) -> bool:
        """See `OwnerStore.delete_owned`."""
        return run(self._sealing.delete_owned(session, owner))

    def copy(
        self,
        source: str,
        target: str,
        *,
        replace: bool | Life = False,
        state: bytes | None = None,
        expect: Life | None = None,
    ) -> Life | None:
        """See `SessionStore.copy`."""
        return run(self._sealing.copy(source, target, replace=replace, state=state, expect=expect))

    def annotate(self, session: str, notes: Notes, expect: Notes) -> Life | None:
        """See `OwnerStore.annotate`."""
        return run(self._sealing.annotate(session, notes, expect))

    def list_owned(self, owner: str, cursor: str | None = None, limit: int = 100) -> SessionPage:
        """See `OwnerStore.list_owned`."""
        return run(self._sealing.list_owned(owner, cursor, limit))

    def ping(self) -> None:
        """See `SessionStore.ping`."""
        self._store.ping()

    def close(self) -> None:
        """See `SessionStore.close`."""
        run(self._sealing.close())


def _for_owners(
    store: SessionStore, encryption: Encryption | None, owner_keys: SessionStore
) -> Keyring:
    """The keyring for sessions whose owners' keys are in another store."""
    if encryption is None:
        raise ConfigurationError(
            "keys of owners are kept encrypted: pass encryption=Encryption([…]) too, or set "
            "WREN_SESSIONS_ENCRYPTION_KEYS"
        )
    check_store(owner_keys, "owner_keys")
    knowing_owners(store)
    check_place(owner_keys, store)
    return Keyring(encryption, for_owners=True)
