"""The keys of owners, in a store of their own. Destroying a key erases everything sealed with it.

Each key is a session of that store, named by the key's id. Its header holds the key, sealed with
the newest of the app's keys; its owner is the one whose key it is, as the sessions' store names
them. An owner may have several keys, if two processes met them first at the same time. A key that
is ended opens, and seals nothing new; that is for the moment in which its sessions are deleted. A
key that is lent has sealed parts of sessions that were given to somebody else, or to nobody: those
are sealed anew before it is destroyed.

The keys must not be kept in the same place as the sessions. Otherwise backups of the sessions would
contain the keys, and could be read after the keys were destroyed.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import urlsplit

from wren_sessions._walks import aall_sessions
from wren_sessions.errors import ConfigurationError, ConflictError, DecryptionError
from wren_sessions.keys import new_token
from wren_sessions.protocols import AsyncSessionStore, SessionStore, knowing_owners
from wren_sessions.records import Commit, SessionInfo
from wren_sessions.serializers.keyring import Keyring, OwnerKeyNeededError
from wren_sessions.ttl import FOREVER

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """An owner's key as it is kept: sealed, and whether it has ended, and was lent."""

    wrapped: bytes
    ended: bool = False
    lent: bool = False


@dataclass(frozen=True, slots=True)
class OwnerKeys:
    """The keys of owners.

    Args:
        store: where they are.
        keyring: what they are sealed with; it is told each key that was looked up.
        place: the same store, to call.
    """

    store: AsyncSessionStore
    keyring: Keyring
    place: SessionStore

    async def find(self, owner: str) -> str | None:
        """The id of the key that seals an owner's sessions; None if there is none."""
        for info in await self._all(owner):
            key_id, kept = info.session, _read(info)
            if not kept.ended:
                self.keyring.learn_owner_key(key_id, kept.wrapped)
                return key_id
        return None

    async def of(self, owner: str) -> str:
        """The same; creates a key if there is none."""
        if (found := await self.find(owner)) is not None:
            return found
        key_id, wrapped = self.keyring.new_owner_key()
        await self._write(key_id, _Kept(wrapped=wrapped), owner=owner)
        self.keyring.learn_owner_key(key_id, wrapped)
        return key_id

    async def call(self, work: Callable[[], T]) -> T:
        """Seal or open something, and fetch the keys that it needs."""
        while True:
            try:
                return work()
            except OwnerKeyNeededError as needed:
                info = await self.store.info(needed.key_id)
                wrapped = None if info is None else _read(info).wrapped
                self.keyring.learn_owner_key(needed.key_id, wrapped)

    async def end(self, owner: str) -> None:
        """Seal nothing new with the keys of an owner."""
        for info in await self._all(owner):
            kept = _read(info)
            if not kept.ended:
                await self._write(info.session, replace(kept, ended=True), seen=info)

    async def lend(self, key_id: str | None, owner: str | None = None) -> None:
        """Remember that a key, and those of an owner, have sealed what is not theirs any more."""
        theirs = [] if owner is None else await self._all(owner)
        key_ids = {info.session for info in theirs} | ({key_id} if key_id else set())
        for each in key_ids:
            while (info := await self.store.info(each)) and not (kept := _read(info)).lent:
                with suppress(ConflictError):
                    await self._write(each, replace(kept, lent=True), seen=info)

    async def lent(self, owner: str) -> set[str]:
        """The keys that are to be destroyed, if any of them was lent; else none."""
        kept = {info.session: _read(info) for info in await self._all(owner)}
        ended = {key_id for key_id, each in kept.items() if each.ended}
        return ended if any(each.lent for each in kept.values()) else set()

    async def destroy(self, owner: str) -> int:
        """Delete the keys of an owner that were ended; how many there were."""
        ended = [info.session for info in await self._all(owner) if _read(info).ended]
        for key_id in ended:
            await self.store.delete(key_id)
            self.keyring.learn_owner_key(key_id, None)
        return len(ended)

    async def count(self, owner: str) -> int:
        """How many keys an owner has."""
        return len(await self._all(owner))

    async def ids(self) -> set[str]:
        """The ids of all keys."""
        return {info.session for info in await self._all(None)}

    async def rewrap(self) -> int:
        """Encrypt all keys with the app's newest key, and return how many were changed."""
        count = 0
        for info in await self._all(None):
            kept = _read(info)
            renewed = self.keyring.rewrapped(info.session, kept.wrapped)
            if renewed is not None:
                await self._write(info.session, replace(kept, wrapped=renewed), seen=info)
                count += 1
        return count

    async def _all(self, owner: str | None) -> list[SessionInfo]:
        """The keys of an owner; None for all owners."""
        return [info async for info in aall_sessions(self.store, owner)]

    async def _write(
        self,
        key_id: str,
        kept: _Kept,
        *,
        owner: str | None = None,
        seen: SessionInfo | None = None,
    ) -> None:
        about = {"key": b64encode(kept.wrapped).decode(), "ended": kept.ended}
        if kept.lent:
            about["lent"] = True
        commit = Commit(
            session=key_id,
            token=new_token(),
            new=seen is None,
            incarnation=None if seen is None else seen.life.incarnation,
            revision=None if seen is None else seen.life.revision,
            owner=owner,
            state=json.dumps(about, separators=(",", ":")).encode(),
        )
        done = await self.store.commit(commit)
        if done.outcome == "gone":  # destroyed in the meantime
            return
        if done.outcome != "done":
            raise ConflictError(
                f"the owner's key {key_id!r} was changed by somebody else just now; nothing was "
                "written: try again",
                session=key_id,
            )


def owner_keys_of(store: object) -> OwnerKeys | None:
    """The owner keys of a store, for this API of it (blocking or async); None if there are none."""
    found = getattr(store, "owner_keys", None)
    return found if isinstance(found, OwnerKeys) else None


def check_place(keys: SessionStore, sessions: SessionStore) -> None:
    """Check that a store can keep the keys for the owners of another store's sessions.

    Raises:
        ConfigurationError: it does not support owners, it ends with the process, it deletes
            sessions by itself, or it is the same file or server.
    """
    knowing_owners(keys)
    if keys.ttl != FOREVER:
        raise ConfigurationError(
            f"the keys of owners must not expire, and those in {keys.location} would ({keys.ttl}): "
            "open it with ttl=FOREVER"
        )
    if sessions.persistent and not keys.persistent:
        raise ConfigurationError(
            "the keys of owners would end with this process, and the sessions could not be read "
            f"any more: keep them in a file or on a server, not in {keys.location}"
        )
    if sessions.persistent and _place(keys.location) == _place(sessions.location):
        raise ConfigurationError(
            f"the keys of owners must not be kept where the sessions are ({sessions.location}): "
            "backups of the sessions would hold the keys. Give owner_keys a file or a server of "
            "its own"
        )


def _place(location: str) -> tuple[str, str]:
    """The file or server, regardless of the database on it."""
    parts = urlsplit(location)
    return parts.netloc.rpartition("@")[2], parts.path if parts.scheme in {"file", "unix"} else ""


def _read(info: SessionInfo) -> _Kept:
    """An owner's key, as it was kept."""
    try:
        about = json.loads(info.state)
        return _Kept(
            wrapped=b64decode(about["key"], validate=True),
            ended=bool(about["ended"]),
            lent=bool(about.get("lent")),
        )
    except (ValueError, KeyError, TypeError):
        raise DecryptionError(
            f"the owner's key {info.session!r} is damaged: restore the store of the keys of owners "
            "from its backup",
            session=info.session,
        ) from None
