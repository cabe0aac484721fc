"""What seals and opens stored data, with the keys of an `Encryption`.

There are two kinds of sealed data. *Bodies* (records, pending writes, headers) have a random nonce.
They are bound to their session's uid, their name and the format. *Chunks* (parts of long values)
have a nonce derived from their content. Within one session, equal chunks are equal bytes, so
unchanged data is stored once. The body that refers to a chunk ensures that the chunk is in the
right place.

Owners may have keys of their own, with ids that begin with ``~``. Then the bodies of their sessions
are sealed with these keys, and the chunks of all sessions only with their salt. A salt is random,
and is stored only inside a sealed body: without the owner's key, nobody can open the chunks.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b, sha256
from importlib import import_module
from typing import Any, Final, NamedTuple, NoReturn

from wren_sessions._blocking import LRU, Lock
from wren_sessions.errors import DecryptionError, hides_arguments
from wren_sessions.serializers.encryption import KEY_BYTES, Encryption

UID_BYTES: Final = 16
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_DERIVED: Final = 4_096  # derived keys in the cache, for as many sessions
_OWNER_KEYS: Final = 10_000  # in the cache

_BY_SALT: Final = "~"  # in place of a key's id: the key is the salt
_OWNER_KEY: Final = "owner key"
_CIPHERS: Final = "cryptography.hazmat.primitives.ciphers.aead"


class OwnerKeyNeededError(Exception):
    """An owner's key is not loaded yet. The caller fetches it, and tries again.

    Attributes:
        key_id: the key's id.
    """

    def __init__(self, key_id: str) -> None:
        super().__init__(key_id)
        self.key_id = key_id


class Keyring:
    """The keys that a store seals and opens with: the app's, and those of owners.

    Args:
        encryption: the app's keys.
        for_owners: whether owners have keys of their own.

    Attributes:
        encryption: the app's keys.
        chunk_key: the id of the key that seals chunks.
    """

    def __init__(self, encryption: Encryption, *, for_owners: bool = False) -> None:
        self.encryption = encryption
        self.chunk_key: str = _BY_SALT if for_owners else encryption.newest
        self._keys = encryption._keys  # noqa: SLF001 -- no public name shows a key
        self._owner_keys = LRU[str, bytes | None](_OWNER_KEYS) if for_owners else None
        self._lock = Lock()
        self._derived = lru_cache(_DERIVED)(self._derive)

    # --- keys of owners ---

    def new_owner_key(self) -> tuple[str, bytes]:
        """A new key for an owner: its id, and the key, encrypted with the newest of these keys."""
        key_id = _BY_SALT + secrets.token_urlsafe(6)
        return key_id, self._wrapped(key_id, secrets.token_bytes(KEY_BYTES))

    def rewrapped(self, key_id: str, wrapped: bytes) -> bytes | None:
        """An owner's key, encrypted with the newest of these keys; None if it already is."""
        if key_id_of(wrapped) == self.encryption.newest:
            return None
        return self._wrapped(key_id, self.open(_OWNER_KEY, (key_id,), wrapped)[1])

    def _wrapped(self, key_id: str, key: bytes) -> bytes:
        return self.seal(_OWNER_KEY, secrets.token_bytes(UID_BYTES), (key_id,), key)

    @hides_arguments
    def learn_owner_key(self, key_id: str, wrapped: bytes | None) -> None:
        """Remember an owner's key, or with None, that it no longer exists."""
        assert self._owner_keys is not None  # noqa: S101 -- the caller has made room
        key = None if wrapped is None else self.open(_OWNER_KEY, (key_id,), wrapped)[1]
        with self._lock:
            self._owner_keys.keep(key_id, key)
        if key is None:
            self._derived.cache_clear()

    def _key_of(self, key_id: str, salt: bytes) -> bytes:
        """The key that others are derived from."""
        if key_id in self._keys:
            return self._keys[key_id]
        if key_id == _BY_SALT:
            return salt
        if not is_owner_key(key_id):
            raise DecryptionError(
                f"the data are encrypted with the key {key_id!r}, and the keys here are "
                f"{', '.join(map(repr, self._keys))}: add that key, behind the first one"
            )
        if self._owner_keys is None:
            raise DecryptionError(
                "the data are encrypted with the key of an owner, and no keys of owners are here: "
                "open the store with owner_keys=, or set WREN_SESSIONS_OWNER_KEYS"
            )
        with self._lock:
            key = self._owner_keys.get(key_id, b"")
            if key == b"":
                raise OwnerKeyNeededError(key_id)
            self._owner_keys.move_to_end(key_id)
        if key is None:
            raise DecryptionError(
                "the data were encrypted with the key of an owner who was erased, or whose key is "
                "kept elsewhere: nobody can read them without it"
            )
        return key

    # --- bodies ---

    def seal(
        self,
        purpose: str,
        uid: bytes,
        names: tuple[str, ...],
        data: bytes,
        key_id: str | None = None,
    ) -> bytes:
        """Data sealed for one purpose, in one session, under these names.

        Args:
            purpose: the kind of data.
            uid: the session's uid.
            names: other names that the data is bound to.
            data: the data to seal.
            key_id: an owner's key; None for the newest of these keys.
        """
        key_id = key_id or self.encryption.newest
        start = _Start(key_id, uid, secrets.token_bytes(NONCE_BYTES))
        _, cipher = self._derived(key_id, purpose, uid)
        sealed: bytes = cipher.encrypt(start.nonce, data, _bound(start, purpose, names))
        return start.packed + sealed

    def open(self, purpose: str, names: tuple[str, ...], sealed: bytes) -> tuple[bytes, bytes]:
        """Open data sealed for this purpose and these names; returns its uid and the data.

        Raises:
            DecryptionError: the key is missing, or the data was changed or moved.
        """
        start, rest = _Start.read(sealed)
        _, cipher = self._derived(start.key_id, purpose, start.uid)
        try:
            data: bytes = cipher.decrypt(start.nonce, rest, _bound(start, purpose, names))
        except (_invalid_tag(), ValueError):
            _changed()
        return start.uid, data

    # --- chunks ---

    def seal_chunk(self, salt: bytes, data: bytes) -> bytes:
        """A chunk sealed with `chunk_key`. With the same salt, equal data gives equal bytes."""
        nonces, cipher = self._derived(self.chunk_key, "chunk", salt)
        nonce = blake2b(data, digest_size=NONCE_BYTES, key=nonces).digest()
        sealed: bytes = cipher.encrypt(nonce, data, None)
        return nonce + sealed

    def chunk_opener(self, key_id: str, salt: bytes) -> Callable[[bytes], bytes]:
        """A function that opens chunks of `seal_chunk`; raises the errors of `open`."""
        decrypt = self._derived(key_id, "chunk", salt)[1].decrypt

        def opened(sealed: bytes) -> bytes:
            try:
                found: bytes = decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
            except (_invalid_tag(), ValueError):
                _changed()
            return found

        return opened

    def _derive(self, key_id: str, purpose: str, salt: bytes) -> tuple[bytes, Any]:
        """A key for nonces, and a cipher (RFC 5869's expand step, twice)."""
        found = []
        for use in ("nonce", "cipher"):
            about = _joined(b"wren-sessions/1", use.encode(), purpose.encode(), salt)
            found.append(hmac.digest(self._key_of(key_id, salt), about + b"\x01", sha256))
        return found[0], import_module(_CIPHERS).AESGCM(found[1])


def is_owner_key(key_id: str) -> bool:
    """Whether an id is the id of an owner's key."""
    return key_id.startswith(_BY_SALT) and key_id != _BY_SALT


def key_id_of(sealed: bytes) -> str:
    """The id of the key that a body was sealed with.

    Raises:
        DecryptionError: this is not a sealed body.
    """
    return _Start.read(sealed)[0].key_id


class _Start(NamedTuple):
    """The readable part in front of a sealed body."""

    key_id: str
    uid: bytes
    nonce: bytes

    @property
    def packed(self) -> bytes:
        name = self.key_id.encode()
        return b"%c%b%b%b" % (len(name), name, self.uid, self.nonce)

    @classmethod
    def read(cls, sealed: bytes) -> tuple[_Start, bytes]:
        end = 1 + (sealed[0] if sealed else 0)
        uid, nonce = sealed[end : end + UID_BYTES], sealed[end + UID_BYTES :][:NONCE_BYTES]
        rest = sealed[end + UID_BYTES + NONCE_BYTES :]
        if len(rest) < TAG_BYTES:
            _changed()
        return cls(sealed[1:end].decode("ascii", "replace"), uid, nonce), rest


def _bound(start: _Start, purpose: str, names: tuple[str, ...]) -> bytes:
    """The data that a sealed body is bound to."""
    texts = (purpose, start.key_id, *names)
    return _joined(start.uid, *(text.encode("utf-8", "surrogatepass") for text in texts))


def _joined(*parts: bytes) -> bytes:
    """The parts joined, each with its length in front: different parts give different bytes."""
    return b"".join(len(part).to_bytes(4) + part for part in parts)


def _changed() -> NoReturn:
    raise DecryptionError(
        "the data were changed, moved or cut off, or a key of the same id is another key"
    ) from None


def _invalid_tag() -> type[Exception]:
    found: type[Exception] = import_module("cryptography.exceptions").InvalidTag
    return found
