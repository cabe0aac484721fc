"""Encryption of stored data: AES-256-GCM, with keys that can be changed.

A key has an id. The first key encrypts, and all keys decrypt. To change the key, put a new one in
front, rewrite the sessions (`wren_sessions.rekey`), and remove the old one. Other keys are derived
from each key, one per purpose and session, so data sealed for one cannot be opened for another.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Iterable
from hashlib import sha256
from importlib import import_module
from typing import Final

from wren_sessions.errors import ConfigurationError, hides_arguments
from wren_sessions.keys import HiddenOwner

KEY_BYTES: Final = 32
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,32}")
_SECRET_BYTES: Final = 16


class Encryption:
    """The keys that sessions are encrypted with.

    Args:
        keys: ``"id:base64"`` of 32 bytes each, as `generate_key` returns them, or (id, bytes).
            The first one encrypts, and all of them decrypt.
        migrate: whether to read unencrypted data as well. Data is always written encrypted. Remove
            this once `wren_sessions.rekey` has rewritten every session: while it is on, somebody
            who can write to the store can plant plain data.
        owner_secret: 16 bytes or more. Keys and indexes then show only a keyed hash of the owner
            (HMAC-SHA256 with this secret). Keep it when you change the keys: with another secret,
            the sessions of an owner cannot be found. None (default) shows owners as they are.

    Raises:
        ConfigurationError: there is no key, a key cannot be used, an id is given twice, or
            ``cryptography`` is not installed. The message never contains a key.
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
        if not isinstance(keys, str | Iterable):
            raise ConfigurationError(
                "encryption keys must be several: Encryption([Encryption.generate_key()])"
            )
        for given in [keys] if isinstance(keys, str) else keys:
            key_id, key = _key(given)
            if key_id in self._keys:
                raise ConfigurationError(f"the encryption key {key_id!r} is given twice")
            self._keys[key_id] = key
        if not self._keys:
            raise ConfigurationError("encryption needs at least one key: Encryption.generate_key()")
        secret: object = owner_secret
        if secret is not None and not (isinstance(secret, bytes) and len(secret) >= _SECRET_BYTES):
            raise ConfigurationError(
                f"owner_secret must have at least {_SECRET_BYTES} bytes: secrets.token_bytes(32)"
            )
        self._owner_secret = owner_secret
        self.migrate = migrate
        self.newest: str = next(iter(self._keys))
        try:
            import_module("cryptography")
        except ImportError:
            raise ConfigurationError(
                "encryption needs cryptography: pip install 'wren-sessions[encryption]'"
            ) from None

    def __repr__(self) -> str:
        return f"Encryption(keys={list(self._keys)}, migrate={self.migrate})"

    @classmethod
    @hides_arguments
    def from_text(
        cls, text: str, *, migrate: bool = False, owner_secret: bytes | None = None
    ) -> Encryption:
        """Keys from the text of an environment variable: ``id:base64``, separated by commas."""
        keys = [part for part in re.split(r"[,\s]+", text) if part]
        return cls(keys, migrate=migrate, owner_secret=owner_secret)

    @staticmethod
    def generate_key(key_id: str = "k1") -> str:
        """A new key, ``"id:base64"``. Keep it where you keep passwords."""
        if not _ID.fullmatch(key_id):
            raise ConfigurationError(f"{key_id!r} cannot be a key's id: {_ID.pattern}")
        return f"{key_id}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the keys. The first one is the key that encrypts."""
        return tuple(self._keys)

    def hidden_owner(self, owner: str) -> str:
        """An owner as stored in keys and indexes: a keyed hash if there is an `owner_secret`."""
        if self._owner_secret is None or type(owner) is HiddenOwner:
            return str(owner)
        return f"hmac-{hmac.digest(self._owner_secret, owner.encode(), sha256).hex()[:40]}"

    @property
    def hides_owners(self) -> bool:
        """Whether owners are stored in keys and indexes as a keyed hash."""
        return self._owner_secret is not None


_PARTS: Final = 2  # of a key: its id, and its bytes


def _key(given: object) -> tuple[str, bytes]:
    if isinstance(given, tuple) and len(given) == _PARTS:
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
