"""Encryption of what is stored: AES-256-GCM, with keys that can be changed.

A key has an id. The first key writes, all of them read; so a new key is put in front, sessions are
rewritten (`wren_sessions.rekey`), and then the old one is taken away. From each key others are
derived, one per purpose and session, so what is sealed for one is noise for another.

Two kinds of seal. *Bodies* (records, pending writes, headers) have a random nonce, and are bound to
what they are: their session's uid, their name, the format. *Chunks* (parts of long values) have a
nonce derived from what is in them: within one session equal chunks are equal bytes, so what did not
change is stored once. That a chunk is where it belongs, the body that refers to it tells.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Callable, Iterable
from functools import lru_cache
from hashlib import blake2b, sha256
from importlib import import_module
from typing import Any, Final, NamedTuple, NoReturn

from wren_sessions.errors import ConfigurationError, DecryptionError, hides_arguments
from wren_sessions.keys import HiddenOwner

KEY_BYTES: Final = 32
UID_BYTES: Final = 16
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,32}")
_SECRET_BYTES: Final = 16
_DERIVED: Final = 4_096  # keys remembered, of as many sessions


class Encryption:
    """The keys that sessions are encrypted with.

    Args:
        keys: ``"id:base64"`` of 32 bytes each, as `generate_key` gives them, or (id, bytes). The
            first one writes, all of them read.
        migrate: whether to read what is not encrypted as well. It is written encrypted; once
            `wren_sessions.rekey` has rewritten every session, take this away, for
            somebody who can write to the store can plant plain data while it is on.
        owner_secret: 16 bytes or more. Keys and indexes then show no owner, only a keyed hash of
            it (HMAC-SHA256 with this). Keep it when keys change: with another one, no session of
            an owner is found. None (default) shows owners as they are.

    Raises:
        ConfigurationError: there is no key, one cannot be used, an id stands twice, or
            ``cryptography`` is not installed. No message holds a key.
    """

    @hides_arguments
    def __init__(
        self,
        keys: Iterable[str | tuple[str, bytes]],
        *,
        migrate: bool = False,
        owner_secret: bytes | None = None,
    ) -> None:
        self._keys: dict[str, bytes] = {}
        for given in [keys] if isinstance(keys, str) else keys:
            key_id, key = _key(given)
            if key_id in self._keys:
                raise ConfigurationError(f"the encryption key {key_id!r} is given twice")
            self._keys[key_id] = key
        if not self._keys:
            raise ConfigurationError("encryption needs at least one key: Encryption.generate_key()")
        if owner_secret is not None and len(owner_secret) < _SECRET_BYTES:
            raise ConfigurationError(
                f"owner_secret must have at least {_SECRET_BYTES} bytes: secrets.token_bytes(32)"
            )
        self._owner_secret = owner_secret
        self.migrate = migrate
        self.newest: str = next(iter(self._keys))
        self._derived = lru_cache(_DERIVED)(self._derive)
        _ciphers()

    def __repr__(self) -> str:
        return f"Encryption(keys={list(self._keys)}, migrate={self.migrate})"

    @classmethod
    @hides_arguments
    def from_text(cls, text: str, *, migrate: bool = False) -> Encryption:
        """Keys as an environment variable holds them: ``id:base64``, with commas between them."""
        return cls([part for part in re.split(r"[,\s]+", text) if part], migrate=migrate)

    @staticmethod
    def generate_key(key_id: str = "k1") -> str:
        """A new key, ``"id:base64"``: keep it where passwords are kept."""
        if not _ID.fullmatch(key_id):
            raise ConfigurationError(f"{key_id!r} cannot be a key's id: {_ID.pattern}")
        return f"{key_id}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys, the one that writes first."""
        return tuple(self._keys)

    def hidden_owner(self, owner: str) -> str:
        """An owner as it stands in keys and indexes: a keyed hash, if `owner_secret` was given."""
        if self._owner_secret is None or type(owner) is HiddenOwner:
            return str(owner)
        return f"hmac-{hmac.digest(self._owner_secret, owner.encode(), sha256).hex()[:40]}"

    @property
    def hides_owners(self) -> bool:
        """Whether owners stand in keys and indexes as a keyed hash."""
        return self._owner_secret is not None

    # --- bodies ---

    def seal(self, purpose: str, uid: bytes, names: tuple[str, ...], data: bytes) -> bytes:
        """Data sealed for one purpose, in one session, under these names."""
        start = _Start(self.newest, uid, secrets.token_bytes(NONCE_BYTES))
        _, cipher = self._derived(self.newest, purpose, uid)
        sealed: bytes = cipher.encrypt(start.nonce, data, _bound(start, purpose, names))
        return start.packed + sealed

    def open(self, purpose: str, names: tuple[str, ...], sealed: bytes) -> tuple[bytes, bytes]:
        """What was sealed for this purpose and these names, and the uid it was sealed for.

        Raises:
            DecryptionError: the key is not here, or the data were changed or moved.
        """
        start, rest = _Start.read(sealed)
        if start.key_id not in self._keys:
            self._no_key(start.key_id)
        _, cipher = self._derived(start.key_id, purpose, start.uid)
        try:
            data: bytes = cipher.decrypt(start.nonce, rest, _bound(start, purpose, names))
        except (_invalid_tag(), ValueError):
            _changed()
        return start.uid, data

    # --- chunks ---

    def seal_chunk(self, salt: bytes, data: bytes) -> bytes:
        """A chunk sealed with the newest key; equal data are equal bytes under one salt."""
        nonces, cipher = self._derived(self.newest, "chunk", salt)
        nonce = blake2b(data, digest_size=NONCE_BYTES, key=nonces).digest()
        sealed: bytes = cipher.encrypt(nonce, data, None)
        return nonce + sealed

    def chunk_opener(self, key_id: str, salt: bytes) -> Callable[[bytes], bytes]:
        """What gives back what `seal_chunk` was given; errors as `open`."""
        if key_id not in self._keys:
            self._no_key(key_id)
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
            found.append(hmac.digest(self._keys[key_id], about + b"\x01", sha256))
        return found[0], _ciphers().AESGCM(found[1])

    def _no_key(self, key_id: str) -> NoReturn:
        raise DecryptionError(
            f"the data are encrypted with the key {key_id!r}, and the keys here are "
            f"{', '.join(map(repr, self._keys))}: add that key, behind the first one"
        )


def key_id_of(sealed: bytes) -> str:
    """The id of the key that a body was sealed with.

    Raises:
        DecryptionError: it is no sealed body.
    """
    return _Start.read(sealed)[0].key_id


class _Start(NamedTuple):
    """What stands in the clear in front of a sealed body."""

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
    """What a sealed body is bound to."""
    texts = (purpose, start.key_id, *names)
    return _joined(start.uid, *(text.encode("utf-8", "surrogatepass") for text in texts))


def _joined(*parts: bytes) -> bytes:
    """Parts as one, each with its length in front: no other parts give the same."""
    return b"".join(len(part).to_bytes(4) + part for part in parts)


def _changed() -> NoReturn:
    raise DecryptionError(
        "the data were changed, moved or cut off, or a key of the same id is another key"
    ) from None


def _key(given: object) -> tuple[str, bytes]:
    if isinstance(given, tuple):
        key_id, key = given
    elif isinstance(given, str):
        key_id, colon, text = given.partition(":")
        key_id, key = key_id.strip() if colon else "", _decoded(text.strip())
    else:
        raise ConfigurationError("an encryption key must be 'id:base64' or (id, bytes)")
    if not isinstance(key_id, str) or not _ID.fullmatch(key_id):
        raise ConfigurationError(
            "an encryption key begins with its id (letters, digits, '.', '_' or '-') and a colon"
        )
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        raise ConfigurationError(
            f"the encryption key {key_id!r} must be {KEY_BYTES} bytes, in base64: make one with "
            "Encryption.generate_key()"
        )
    return key_id, key


def _decoded(text: str) -> bytes | None:
    standard = text.replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _ciphers() -> Any:
    try:
        return import_module("cryptography.hazmat.primitives.ciphers.aead")
    except ImportError:
        raise ConfigurationError(
            "encryption needs cryptography: pip install 'wren-sessions[encryption]'"
        ) from None


def _invalid_tag() -> type[Exception]:
    found: type[Exception] = import_module("cryptography.exceptions").InvalidTag
    return found
