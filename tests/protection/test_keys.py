"""Keys: where they come from, what is refused, and that no message shows one."""

from __future__ import annotations

import base64

import pytest

from wren_sessions.errors import ConfigurationError, DecryptionError
from wren_sessions.serializers.encryption import Encryption
from wren_sessions.serializers.keyring import Keyring

SECRET = base64.b64encode(b"\xfbsecret bytes, 32 of them, or so").decode()
NAMES = ("", "checkpoint")
UID = bytes(16)


def test_the_first_key_writes_and_all_read() -> None:
    """What an older key sealed is opened with it, and sealed again with the newest."""
    old, new = Encryption.generate_key("old"), Encryption.generate_key("new")
    sealed = Keyring(Encryption([old])).seal("record", UID, NAMES, b"data")
    both = Encryption([new, old])
    assert (both.newest, both.key_ids) == ("new", ("new", "old"))
    assert Keyring(both).open("record", NAMES, sealed) == (UID, b"data")
    again = Keyring(both).seal("record", UID, NAMES, b"data")
    assert Keyring(Encryption([new])).open("record", NAMES, again) == (UID, b"data")
    with pytest.raises(DecryptionError, match="key 'new', and the keys here are 'old': add"):
        Keyring(Encryption([old])).open("record", NAMES, again)


def test_keys_from_text() -> None:
    """Commas, blanks and lines may stand between keys; both alphabets of base64 are read."""
    key = base64.urlsafe_b64encode(b"\xff" * 32).decode().rstrip("=")
    found = Encryption.from_text(f"a:{key}, {Encryption.generate_key('b')}\n")
    assert found.key_ids == ("a", "b")
    same = Encryption([("a", b"\xff" * 32)])
    assert Keyring(same).open("x", (), Keyring(found).seal("x", UID, (), b"1"))[1] == b"1"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ([], "at least one key"),
        ("", "begins with its id"),
        ([SECRET], "begins with its id"),
        ([f"k 1:{SECRET}"], "begins with its id"),
        ([f"k1:{SECRET[:-8]}"], "'k1' must be 32 bytes"),
        ([f"k1:{SECRET}!"], "'k1' must be 32 bytes"),
        ([("k1", SECRET)], "'k1' must be 32 bytes"),
        ([f"k1:{SECRET}", ("k1", bytes(32))], "'k1' is given twice"),
        ([7], "must be 'id:base64'"),
    ],
)
def test_a_key_that_cannot_be_used(keys: object, message: str) -> None:
    """The error says what is wrong, and holds nothing of the key."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        Encryption(keys)  # type: ignore[arg-type]
    assert SECRET[:8] not in str(caught.value)


def test_no_repr_shows_a_key() -> None:
    """Only the ids."""
    encryption = Encryption([f"k1:{SECRET}"])
    assert repr(encryption) == "Encryption(keys=['k1'], migrate=False)"


@pytest.mark.parametrize("key_id", ["", "a b", "ä", "x" * 33, "a:b"])
def test_an_id_that_cannot_be_one(key_id: str) -> None:
    """A key is not made with it."""
    with pytest.raises(ConfigurationError, match="cannot be a key's id"):
        Encryption.generate_key(key_id)


def test_seals_are_bound() -> None:
    """To their purpose, their names and their session; every bit counts."""
    keyring = Keyring(Encryption([Encryption.generate_key()]))
    sealed = keyring.seal("record", UID, ("a", "bc"), b"data")
    for purpose, names in (("write", ("a", "bc")), ("record", ("ab", "c")), ("record", ("a",))):
        with pytest.raises(DecryptionError, match="changed, moved or cut off"):
            keyring.open(purpose, names, sealed)
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises(DecryptionError):
            keyring.open("record", ("a", "bc"), bytes(changed))
    for end in range(len(sealed)):
        with pytest.raises(DecryptionError):
            keyring.open("record", ("a", "bc"), sealed[:end])


def test_another_key_of_the_same_id() -> None:
    """It is told apart from a missing one as far as it can be."""
    sealed = Keyring(Encryption([Encryption.generate_key()])).seal("record", UID, NAMES, b"data")
    with pytest.raises(DecryptionError, match="or a key of the same id is another key"):
        Keyring(Encryption([Encryption.generate_key()])).open("record", NAMES, sealed)


def test_equal_chunks_are_equal_bytes_under_one_salt_only() -> None:
    """So a session stores them once, and two sessions cannot be compared."""
    keyring = Keyring(Encryption([Encryption.generate_key()]))
    one, other = b"1" * 16, b"2" * 16
    assert keyring.seal_chunk(one, b"chunk") == keyring.seal_chunk(one, b"chunk")
    assert keyring.seal_chunk(one, b"chunk") != keyring.seal_chunk(other, b"chunk")
    nonces = {keyring.seal_chunk(one, b"%d" % n)[:12] for n in range(1_000)}
    assert len(nonces) == 1_000
    with pytest.raises(DecryptionError):
        keyring.chunk_opener("k1", other)(keyring.seal_chunk(one, b"chunk"))
