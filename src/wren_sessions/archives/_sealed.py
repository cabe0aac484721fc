"""Files of archives that only an owner's key decrypts: two lines of JSON.

The first line names the session and the owner, so that the file can be found and removed without
the key. It also has an encrypted digest of the session's settings, so that an archive that is up to
date is known without opening it. The second line is the content of the file, encrypted for its
session and name::

    {"format":"wren-sessions/sealed","version":1,"session":"cli_1","file":"session.jsonl","owner":…}
    {"sealed":"…base64…"}
"""

from __future__ import annotations

import json
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from wren_sessions.archives._format import Opening
from wren_sessions.archives._parsing import opening_of
from wren_sessions.errors import CorruptSessionError, DecryptionError, FormatVersionError
from wren_sessions.protocols import AsyncSessionStore
from wren_sessions.records import SessionInfo
from wren_sessions.serializers.keyring import UID_BYTES, Keyring
from wren_sessions.sessions.operations import not_found
from wren_sessions.stores.protected.owner_keys import OwnerKeys

_FORMAT: Final = "wren-sessions/sealed"
_VERSION: Final = 1
_BEGINS: Final = f'{{"format":"{_FORMAT}"'.encode()
_PURPOSE: Final = "archive"
_SETTINGS: Final = "archive settings"


class About(NamedTuple):
    """What is known about an archive without decrypting it.

    Attributes:
        session: the session's id.
        owner: its owner; None if it has none.
        incarnation: see `Life.incarnation`.
        revision: see `Life.revision`.
        settings: what `settings_of` gave; empty if the file does not say it, as earlier ones.
        sealed: whether the file is encrypted, and `settings` too.
    """

    session: str
    owner: str | None
    incarnation: str
    revision: int
    settings: bytes
    sealed: bool


def settings_of(known: Opening | SessionInfo) -> bytes:
    """A digest of what can change in a session without a new revision."""
    owner, about = known.notes
    parts = [known.life.pinned, known.idle, owner, about.decode("utf-8", "surrogateescape")]
    return sha256(json.dumps(parts).encode()).digest()


async def is_current(about: About, info: SessionInfo, keys: OwnerKeys | None) -> bool:
    """Whether an archive is of a session as it is now, in its contents and its settings.

    If the key for the archive is missing, only the contents are compared: without it, the session
    could not be archived again.
    """
    life = info.life
    if (about.incarnation, about.revision) != (life.incarnation, life.revision):
        return False
    settings = about.settings
    if about.sealed and settings:
        if keys is None:
            return True
        opening = partial(keys.keyring.open, _SETTINGS, (about.session,), settings)
        try:
            _, settings = await keys.call(opening)
        except DecryptionError:
            return True
    return settings == settings_of(info)


class _Rejoined:
    """Lines whose first line was already read."""

    def __init__(self, first: str | bytes, rest: Iterator[str | bytes], name: object) -> None:
        self._first = first
        self._rest = rest
        self.name = name  # of the file, for errors

    def __iter__(self) -> Iterator[str | bytes]:
        yield self._first
        yield from self._rest


async def sealed(
    store: AsyncSessionStore,
    keys: OwnerKeys,
    owner: str,
    opening: Opening,
    files: Mapping[Path, str],
) -> dict[Path, str]:
    """The files of the archive of an owner's session, encrypted with the owner's key.

    Raises:
        SessionNotFoundError: the owner has no key, and the session is gone: the owner was erased.
    """
    owner = keys.keyring.encryption.hidden_owner(owner)
    key = await keys.find(owner)
    if key is None:
        if await store.info(opening.session) is None:
            not_found(opening.session)
        key = await keys.of(owner)
    work = partial(_sealed, keys.keyring, key, owner, opening)
    return {path: await keys.call(partial(work, path.name, text)) for path, text in files.items()}


def _sealed(keyring: Keyring, key: str, owner: str, opening: Opening, *named: str) -> str:
    """One of the files: its name and its text."""
    file, text = named
    about = {
        "format": _FORMAT,
        "version": _VERSION,
        "session": opening.session,
        "file": file,
        "owner": owner,
        "incarnation": opening.life.incarnation,
        "revision": opening.life.revision,
    }
    names, uid = (opening.session, file), secrets.token_bytes(UID_BYTES)
    settings = keyring.seal(_SETTINGS, uid, (opening.session,), settings_of(opening), key)
    about["settings"] = b64encode(settings).decode()
    data = keyring.seal(_PURPOSE, uid, names, text.encode(), key)
    lines = (about, {"sealed": b64encode(data).decode()})
    return "".join(f"{json.dumps(line, separators=(',', ':'))}\n" for line in lines)


def about_of(line: bytes, name: str | None = None) -> About:
    """The first line of a ``session.jsonl``, encrypted or not; raises as `opening_of`."""
    if line.startswith(_BEGINS):
        return _about(line)[0]
    found = opening_of(line, name)
    owner, life = found.notes.owner, found.life
    settings = settings_of(found)
    return About(found.session, owner, life.incarnation, life.revision, settings, sealed=False)


async def unsealed(lines: Iterable[str | bytes], keys: OwnerKeys | None) -> Iterable[str | bytes]:
    """The lines of a file, decrypted if they are encrypted.

    Raises:
        DecryptionError: the owner's key is missing, or the file was changed.
        CorruptSessionError: the file is damaged or cut off.
        FormatVersionError: a newer version of this package wrote it.
    """
    rest = iter(lines)
    first = next(rest, b"")
    begins = first.encode("utf-8", "replace") if isinstance(first, str) else bytes(first)
    if not begins.startswith(_BEGINS):
        return _Rejoined(first, rest, getattr(lines, "name", None))
    about, file = _about(begins)
    try:
        data = b64decode(_fields(next(rest, b""))["sealed"], validate=True)
    except (KeyError, TypeError, ValueError):
        _damaged(about.session)
    if keys is None:
        raise DecryptionError(
            f"the archive of session {about.session!r} is sealed with its owner's key: open the "
            "store with owner_keys=, or set WREN_SESSIONS_OWNER_KEYS",
            session=about.session,
        )
    opening = partial(keys.keyring.open, _PURPOSE, (about.session, file), data)
    _, text = await keys.call(opening)
    return text.decode().splitlines(keepends=True)


def _about(line: bytes) -> tuple[About, str]:
    """The first line of an encrypted file, and which file it is."""
    fields = _fields(line)
    version = fields.get("version")
    if isinstance(version, int) and version > _VERSION:
        raise FormatVersionError(
            f"the sealed archive has format version {version}, and this wren-sessions reads up to "
            f"{_VERSION}: upgrade it",
            session=str(fields.get("session")),
            found=version,
            supported=_VERSION,
        )
    names = ("session", "owner", "incarnation", "revision", "file")
    found: list[Any] = [*map(fields.get, names), fields.get("settings", "")]
    if not all(map(isinstance, found, (str, str, str, int, str, str))):
        _damaged(str(found[0]))
    session, owner, incarnation, revision, file, text = found
    try:
        settings = b64decode(text, validate=True)
    except ValueError:
        _damaged(session)
    return About(session, owner, incarnation, revision, settings, sealed=True), file


def _fields(line: str | bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _damaged(session: str) -> NoReturn:
    raise CorruptSessionError(
        f"the sealed archive of session {session!r} is damaged or cut off: use another copy of the "
        "file",
        session=session,
    ) from None
