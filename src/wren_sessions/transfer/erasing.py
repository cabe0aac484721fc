"""Erase everything stored for one owner: sessions, list entries, archives, and the key.

::

    receipt = erase_owner(store, "ann", archives="user_profiles")
    print(receipt.to_json())

Where owners have keys of their own (`open_store(…, owner_keys=…)`), the owner's key is destroyed
last. Then nobody can read earlier copies either, such as backups, replicas and append-only files.
If it stops in the middle, call it again to complete it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, Protocol, Self

from wren_sessions._blocking import run
from wren_sessions._walks import aall_sessions
from wren_sessions.archives._owned import archives_of, remove
from wren_sessions.errors import ConfigurationError, ConflictError
from wren_sessions.keys import StagingId, check_owner
from wren_sessions.protocols import AsyncOwnerStore, SessionStore, knowing_owners
from wren_sessions.serializers.keyring import is_owner_key
from wren_sessions.stores.protected.headers import key_id
from wren_sessions.stores.protected.owner_keys import OwnerKeys
from wren_sessions.transfer._api import StoreApi
from wren_sessions.transfer._reports import OnProgress, Progress
from wren_sessions.transfer.rekey import give_back
from wren_sessions.ttl import Duration, to_ms

_ROUNDS: Final = 10


class HasRoot(Protocol):
    """A `SessionArchiver`, which has its archives below `root`."""

    @property
    def root(self) -> Path:
        """The folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureReceipt:
    """What `erase_owner` erased.

    Attributes:
        owner: the owner whose data it was.
        location: where the sessions were; see `SessionStore.location`.
        sessions: the ids of the sessions.
        archives: the folders of the archives; None if no folder was named to look in.
        keys: how many keys of the owner were destroyed; None if owners have no keys.
        began_at: when it began, UTC.
        ended_at: when it was done, UTC.
        dry_run: whether everything was only found, and nothing was erased.
        unreadable: sessions of others that were this owner's before, and that nobody could read any
            more, because the key of another owner was destroyed; and why. They stay as they are.
    """

    owner: str
    location: str
    sessions: tuple[str, ...]
    archives: tuple[Path, ...] | None
    keys: int | None
    began_at: datetime
    ended_at: datetime
    dry_run: bool = False
    unreadable: Mapping[str, str] = field(default_factory=dict, hash=False)

    def to_json(self) -> str:
        """The receipt as a JSON object, for your records."""
        return json.dumps(
            asdict(self),
            default=lambda value: getattr(value, "isoformat", value.__str__)(),
            ensure_ascii=False,
        )


def erase_owner(
    store: SessionStore,
    owner: str,
    *,
    archives: str | Path | HasRoot | None = None,
    dry_run: bool = False,
    scrub: bool = True,
    settle: Duration | None = "5s",
    on_progress: OnProgress | None = None,
) -> ErasureReceipt:
    """Erase all sessions of an owner, including pinned ones, and everything that belongs to them.

    Anything written for the owner while this runs is erased too. A file store's file is rewritten,
    so that no deleted byte is left in it. On Redis, append-only files and snapshots keep deleted
    data until the server writes new ones.

    Args:
        store: where the sessions are.
        owner: whose data to erase.
        archives: the folder of a `SessionArchiver`, or the archiver itself: archives of these
            sessions are removed from there. None (default) keeps archives.
        dry_run: True to only find everything, and erase nothing.
        scrub: False to skip rewriting a file store's file, which can take long; call its
            `FileStore.scrub` later.
        settle: how long to wait if owners have keys. Another process may be creating a session
            with the owner's key right now; that session is deleted after the wait. None for
            no wait.
        on_progress: called with a `Progress` of the owner after every session.

    Returns:
        The receipt.

    Raises:
        ConfigurationError: the store does not know owners, there is no such folder, or sessions
            are encrypted with a key of the owner and the store was opened without these keys;
            nothing was erased.
        ConflictError: sessions of the owner are written all the time, or a session that was theirs
            before is in use by its new owner; the key is still there: call it again.
        DecryptionError: a session that was theirs before needs a key of the app that is not here;
            the owner's key is still there: add the other one, and call it again.
        CorruptSessionError: a session is damaged, perhaps one that was theirs before; the owner's
            key is still there: repair or delete the session, and call it again.
        StoreUnavailableError: the store or an archive cannot be changed; call it again.
    """
    api = StoreApi.blocking(store, "erase_owner")
    erasing = _Erasing.of(api, owner, archives, settle, on_progress, scrub=scrub)
    return run(erasing.run(dry_run=dry_run))


async def aerase_owner(
    store: SessionStore,
    owner: str,
    *,
    archives: str | Path | HasRoot | None = None,
    dry_run: bool = False,
    scrub: bool = True,
    settle: Duration | None = "5s",
    on_progress: OnProgress | None = None,
) -> ErasureReceipt:
    """See `erase_owner`; uses the store's async API. Files are removed in another thread."""
    api = StoreApi.awaitable(store, "aerase_owner")
    erasing = _Erasing.of(api, owner, archives, settle, on_progress, scrub=scrub)
    return await erasing.run(dry_run=dry_run)


@dataclass(slots=True)
class _Erasing:
    api: StoreApi
    owner: str
    root: Path | None
    settle_s: float
    on_progress: OnProgress | None
    scrub: bool
    _sessions: dict[str, None] = field(default_factory=dict)
    _archives: list[Path] = field(default_factory=list)
    _unreadable: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        api: StoreApi,
        owner: str,
        archives: str | Path | HasRoot | None,
        settle: Duration | None,
        on_progress: OnProgress | None,
        *,
        scrub: bool,
    ) -> Self:
        """An erasure with checked arguments."""
        knowing_owners(api.place)
        check_owner(owner)
        if archives is not None and not isinstance(archives, str | Path):
            archives = getattr(archives, "root", None)
            if archives is None:
                raise ConfigurationError("archives must be a folder, or a SessionArchiver")
        root = None if archives is None else Path(archives)
        settle_s = 0 if settle is None else to_ms(settle, "settle", least_ms=0) / 1_000
        return cls(api, owner, root, settle_s, on_progress, scrub)

    async def run(self, *, dry_run: bool) -> ErasureReceipt:
        """Erase everything, or only find it."""
        began_at = datetime.now(UTC)
        keys, off = self.api.owner_keys, self.api.off
        await off(self._find_archives)  # before anything is deleted: a wrong folder is an error
        if dry_run:
            await self._each()
            await off(self._find_archives)
            count = None if keys is None else await keys.count(self._name)
        else:
            count = await self._erase()
        return ErasureReceipt(
            owner=self.owner,
            location=self.api.place.location,
            sessions=tuple(self._sessions),
            archives=None if self.root is None else tuple(self._archives),
            keys=count,
            began_at=began_at,
            ended_at=datetime.now(UTC),
            dry_run=dry_run,
            unreadable=self._unreadable,
        )

    async def _erase(self) -> int | None:
        """Erase everything; how many keys the owner had."""
        keys, off = self.api.owner_keys, self.api.off
        if keys is None:
            await self._each()  # before anything is deleted: keys that are not here are an error
            self._sessions.clear()
        else:
            await keys.end(self._name)
        await self._delete()
        if keys is not None:
            await off(partial(time.sleep, self.settle_s))
            await self._delete()
        await off(self._find_archives)
        await off(self._remove)
        return None if keys is None else await self._destroy(keys)

    async def _destroy(self, keys: OwnerKeys) -> int:
        """Destroy the owner's keys, when nobody else's sessions need them; how many there were."""
        if lent := await keys.lent(self._name):
            self._unreadable = await give_back(self.api, lent)
        count = await keys.destroy(self._name)
        if hasattr(keys.place, "scrub"):
            await self.api.off(keys.place.scrub)  # its log holds the key until then
        return count

    @property
    def _name(self) -> str:
        """The owner's name in indexes."""
        encryption = self.api.protection.encryption
        return self.owner if encryption is None else encryption.hidden_owner(self.owner)

    async def _delete(self) -> None:
        """Delete until no session is left; the last round clears the owner's list."""
        for _ in range(_ROUNDS):
            if not await self._each(delete=True):
                return
        raise ConflictError(
            f"sessions of owner {self.owner!r} are being written all the time: stop what writes "
            "them, and erase once more",
            session="",
        )

    async def _each(self, *, delete: bool = False) -> bool:
        """Find all sessions of the owner, and delete them if asked; whether there were any."""
        store, keyless = self.api.store, self.api.owner_keys is None
        knowing: AsyncOwnerStore = store  # type: ignore[assignment] # it was checked
        found = False
        async for info in aall_sessions(store, self.owner):
            found = True
            if keyless and is_owner_key(key_id(info.state) or ""):
                raise ConfigurationError(
                    f"session {info.session!r} is encrypted with a key of its owner, and no store "
                    "of owners' keys is configured. The key would stay, and copies could still be "
                    "read: pass owner_keys=, or set WREN_SESSIONS_OWNER_KEYS"
                )
            if delete:
                try:
                    await knowing.delete_owned(info.session, self.owner)
                except ConflictError:
                    continue  # it was given to somebody else since it was listed
                await store.delete(StagingId(info.session))  # if a copy was interrupted
            self._sessions[info.session] = None
            if delete and self.on_progress is not None:
                self.on_progress(Progress(self.owner, len(self._sessions), 0))
        return found

    def _find_archives(self) -> None:
        if self.root is not None:
            owners = {self.owner, self._name}
            self._archives = list(archives_of(self.root, owners, self._sessions))

    def _remove(self) -> None:
        """Remove archives, and what is left of deleted sessions in the store's file."""
        for folder in self._archives:
            remove(folder)
        if self.scrub and hasattr(self.api.place, "scrub"):
            self.api.place.scrub()
